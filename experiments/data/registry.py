"""All data sets, each with the module that defines it; no run depends on this file."""

from experiments.common.registry import Registry

DATASETS = Registry(
    "data set",
    {
        "digits": "experiments.data.digits",
        "cifar10": "experiments.data.cifar",
        "cifar10-16": "experiments.data.cifar",
        "cifar10-published": "experiments.data.cifar",
        "cifar100": "experiments.data.cifar",
        "cifar100-published": "experiments.data.cifar",
        "mnist": "experiments.data.mnist",
        "tolstoi": "experiments.data.tolstoi",
        "imagenet": "experiments.data.imagefolder",
        "tinyimagenet": "experiments.data.tinyimagenet",
        "tinyimagenet20": "experiments.data.tinyimagenet",
        "mushrooms": "experiments.data.mushrooms",
        "factorisation": "experiments.data.factorisation",
    },
)
