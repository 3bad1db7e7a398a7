"""The paper's numbers, as far as they can be read, for comparison with ours.

MobileNetV2 on CIFAR-100 is the only problem for which the main figure can be read completely: test accuracies are
printed in it, and training losses are read off its curves at the end of training.
"""

TEST_ACCURACY = {
    ("cifar100-mobilenetv2", "pal"): 0.722,
    ("cifar100-mobilenetv2", "sgd-step"): 0.736,
    ("cifar100-mobilenetv2", "adam-step"): 0.729,
    ("cifar100-mobilenetv2", "rmsprop-step"): 0.727,
    ("cifar100-mobilenetv2", "sls"): 0.197,
    ("cifar100-mobilenetv2", "sgdhd"): 0.589,
    ("cifar100-mobilenetv2", "alig"): 0.652,
    ("cifar100-mobilenetv2", "cocob"): 0.644,
}
"""Highest test accuracy over all configurations, by problem and method."""

TRAIN_LOSS = {
    ("cifar100-mobilenetv2", "pal"): 0.18,
    ("cifar100-mobilenetv2", "sgd-step"): 0.40,
    ("cifar100-mobilenetv2", "adam-step"): 0.22,
    ("cifar100-mobilenetv2", "rmsprop-step"): 0.197,
    ("cifar100-mobilenetv2", "sls"): 4.3,
    ("cifar100-mobilenetv2", "sgdhd"): 1.48,
    ("cifar100-mobilenetv2", "alig"): 0.32,
    ("cifar100-mobilenetv2", "cocob"): 0.485,
}
"""Final training loss of the configuration with the lowest, by problem and method."""
