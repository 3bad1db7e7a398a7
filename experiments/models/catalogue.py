"""All networks, one entry each: a register that no run depends on, since its entry is in the run's key."""

from typing import Any, NamedTuple


class Network(NamedTuple):
    """Module of `experiments.models`, the function in it that builds the network, and what it is told."""

    module: str
    function: str
    options: dict[str, Any] = {}  # noqa: RUF012  (a NamedTuple's default, never changed)


SHORT = {"memory": 0.9}
"""Of networks that are trained for thousands of steps, not 150,000: with the published .997, batch norm would be
evaluated with the statistics of weights that are 300 steps old, which a large step makes useless."""

NETWORKS = {
    "digits-cnn": Network("small", "digits_cnn"),
    "mlp-128-128": Network("small", "mlp", {"hidden": (128, 128)}),
    "mlp-2": Network("small", "mlp", {"hidden": (2,)}),
    "mlp-4": Network("small", "mlp", {"hidden": (4,)}),
    "mlp-8": Network("small", "mlp", {"hidden": (8,)}),
    "mlp-128": Network("small", "mlp", {"hidden": (128,)}),
    "mlp-1000": Network("small", "mlp", {"hidden": (1000,)}),
    "mnist-cnn": Network("small", "mnist_cnn"),
    "linear": Network("small", "linear"),
    "linear-rank1": Network("small", "linear", {"rank": 1}),
    "linear-rank4": Network("small", "linear", {"rank": 4}),
    "linear-rank10": Network("small", "linear", {"rank": 10}),
    "resnet8": Network("resnet", "resnet_v2", SHORT | {"depth": 8}),
    "resnet8-narrow": Network("resnet", "resnet_v2", SHORT | {"depth": 8, "width": 8}),
    "resnet14": Network("resnet", "resnet_v2", SHORT | {"depth": 14}),
    "resnet20": Network("resnet", "resnet_v2", SHORT | {"depth": 20}),
    "resnet32": Network("resnet", "resnet_v2", {"depth": 32}),
    "resnet34": Network("resnet", "resnet34"),
    "densenet40": Network("densenet", "densenet40"),
    "densenet40-bottleneck": Network("densenet", "densenet40", {"bottleneck": True}),
    "densenet121-small": Network("densenet", "densenet121"),
    "mobilenetv2": Network("mobile", "mobilenet_v2"),
    "mobilenetv2-narrow": Network("mobile", "mobilenet_v2", SHORT | {"width": 0.25}),
    "efficientnetb0": Network("mobile", "efficientnet_b0"),
    "lstm": Network("lstm", "character_lstm"),
    "resnet50": Network("imagenet", "resnet50"),
    "densenet121": Network("imagenet", "densenet121"),
}
