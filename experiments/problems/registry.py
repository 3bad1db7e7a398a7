"""All problems: those of the paper, those of SLS that it repeats, and small ones for machines without a GPU."""

from dataclasses import replace

from experiments.common.registry import Registry, instance_of
from experiments.problems.problem import Problem

PAPER_STEPS = 150_000
LIBRARY = "torchvision: network"
NETWORKS = ("resnet32", "densenet40", "mobilenetv2", "efficientnetb0")


def _paper(dataset: str, network: str) -> Problem:
    constants = "" if dataset == "cifar10" else "; ours: its own pixel constants"
    source = f"paper's code: all; ours: shuffled, reflected border{constants}"
    return Problem(f"{dataset}-{network}", dataset, network, source, PAPER_STEPS, augment=True)


def _published(problem: Problem) -> Problem:
    """With the quirks of the published code: CIFAR-10 never shuffled, its constants for CIFAR-100, repeated border."""
    deeper = problem.dataset == "cifar100" and problem.network == "densenet40"
    return replace(
        problem,
        name=f"{problem.name}-published",
        dataset=f"{problem.dataset}-published",
        network="densenet40-bottleneck" if deeper else problem.network,
        source="paper's code with its quirks: all",
        shuffle=problem.dataset != "cifar10",
    )


def _unshuffled(problem: Problem) -> Problem:
    """With the same data order in every epoch, as the published code reads CIFAR-10."""
    return replace(
        problem, name=f"{problem.name}-unshuffled", source=f"{problem.source}; never shuffled", shuffle=False
    )


def _sls(dataset: str, network: str, epochs: int, examples: int, batch_size: int = 128) -> Problem:
    """A problem of the SLS experiments: no L2 term, no validation split."""
    return Problem(
        f"sls-{dataset}-{network.removesuffix('-small')}",
        dataset,
        network,
        f"SLS: all, {epochs} epochs",
        steps=epochs * -(-examples // batch_size),
        batch_size=batch_size,
        l2=0.0,
        augment=dataset.startswith("cifar"),
        validation=False,
    )


QUICK = [
    Problem("digits-cnn", "digits", "digits-cnn", "ours", 600),
    Problem("digits-mlp", "digits", "mlp-128-128", "ours", 600),
    *(Problem(f"digits-hidden-{width}", "digits", f"mlp-{width}", "ours", 600) for width in (2, 4, 8, 128)),
    Problem("mnist-cnn", "mnist", "mnist-cnn", "paper's code: network; ours: pixel scale, steps", 4_300),
    Problem(
        "mnist-mlp-5k", "mnist", "mlp-128-128", "ours: first 5,000 images", 1_500, l2=0.0, train_size=5_000
    ),
]
SMALL_STEPS = {"resnet8": 8_800, "resnet8-narrow": 8_800, "resnet14": 8_800, "resnet20": 17_600}
SMALL_CIFAR = [
    Problem(
        f"cifar10-{network}", "cifar10", network, "ours; data and L2 as in the paper", steps, augment=True
    )
    for network, steps in SMALL_STEPS.items()
]
INTERPOLATING = [
    Problem(
        f"cifar10-{network}-{images}k",
        "cifar10",
        network,
        f"ours; data and L2 as in the paper, first {images},000 images",
        steps,
        batch_size=batch_size,
        augment=True,
        train_size=1000 * images,
    )
    for images, steps, batch_size in ((5, 4_000, 128), (2, 2_000, 64))
    for network in ("resnet8", "resnet20", "mobilenetv2-narrow")
]
SMALLER = [
    Problem(
        name,
        "cifar10-16",
        network,
        f"ours: 16x16 pixels, steps{', images, no augmentation' if images else ''}; L2 as in the paper",
        steps,
        batch_size=batch_size,
        augment=images is None,
        train_size=images,
    )
    for name, network, images, batch_size, steps in (
        ("cifar10-16-resnet8-thin-2k", "resnet8-thin", 2_000, 64, 2_000),
        ("cifar10-16-resnet8-narrow-2k", "resnet8-narrow", 2_000, 64, 2_000),
        ("cifar10-16-resnet8-5k", "resnet8", 5_000, 128, 2_000),
        ("cifar10-16-resnet8-narrow", "resnet8-narrow", None, 128, 3_000),
        ("cifar10-16-resnet20-5k", "resnet20", 5_000, 128, 2_000),
        ("cifar10-16-mobilenetv2-narrow-5k", "mobilenetv2-narrow", 5_000, 128, 3_000),
    )
]
"""A quarter of the pixels: a core trains a network to interpolation in minutes. The one with all images cannot."""
PAPER_CIFAR = [_paper(dataset, network) for dataset in ("cifar10", "cifar100") for network in NETWORKS]
IMAGENET = [
    Problem(
        f"imagenet-{network}",
        "imagenet",
        network,
        f"paper: task; {LIBRARY}; default of the paper's code: batch, steps, L2",
        PAPER_STEPS,
        augment=True,
    )
    for network in ("resnet50", "densenet121")
]
TINY_IMAGENET = [
    Problem(
        f"{dataset}-{network}",
        dataset,
        network,
        f"ours, in place of ImageNet; {LIBRARY}",
        steps,
        augment=True,
    )
    for dataset, steps in (("tinyimagenet", PAPER_STEPS), ("tinyimagenet20", 15_000))
    for network in ("resnet50", "densenet121")
]
TOLSTOI = [
    Problem(
        "tolstoi-lstm",
        "tolstoi",
        "lstm",
        "paper's code: network, L2; DeepOBS: batch, 200 epochs; ours: zero state for each row",
        200 * 784,
        batch_size=50,
    ),
    Problem(
        "tolstoi-lstm-5k",
        "tolstoi",
        "lstm",
        "as tolstoi-lstm; ours: first 5,000 rows, steps",
        2_000,
        batch_size=50,
        train_size=5_000,
    ),
]
SLS = [
    *(
        _sls("factorisation", net, 50, 800, 100)
        for net in ("linear", "linear-rank1", "linear-rank4", "linear-rank10")
    ),
    _sls("mushrooms", "linear", 35, 6_499, 100),
    _sls("mnist", "mlp-1000", 200, 60_000),
    *(
        _sls(dataset, network, 200, 50_000)
        for dataset in ("cifar10", "cifar100")
        for network in ("resnet34", "densenet121-small")
    ),
]

UNSHUFFLED = [
    _unshuffled(problem)
    for problem in (*QUICK, *INTERPOLATING, *SMALLER, *PAPER_CIFAR)
    if problem.name
    in ("digits-cnn", "cifar10-resnet8-2k", "cifar10-16-resnet8-narrow-2k", "cifar10-resnet32")
]
"""For the study `ablation`."""

ALL = [*QUICK, *SMALL_CIFAR, *INTERPOLATING, *SMALLER, *PAPER_CIFAR, *map(_published, PAPER_CIFAR), *IMAGENET]
ALL += [*TINY_IMAGENET, *TOLSTOI, *SLS, *UNSHUFFLED]
PROBLEMS = Registry("problem", {problem.name: problem for problem in ALL}, "PROBLEMS", instance_of(Problem))
