"""All networks; no run depends on this file, since a run's key includes the entry of its network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from experiments.common.registry import Registry


@dataclass(frozen=True)
class Network:
    """The function (shape, outputs) -> nn.Module that builds a network, or "module:function", and further arguments."""

    target: str | Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)


def _accept(thing: Any) -> Network:
    if isinstance(thing, Network):
        return thing
    if not callable(thing):
        raise TypeError(f"is {thing!r:.60}; it must be a function (shape, outputs) -> nn.Module")
    return Network(thing)


SHORT = {"memory": 0.9}
"""For networks that are trained for thousands of steps, not 150,000: with the published .997, batch norm would be
evaluated with the statistics of weights that are 300 steps old, which are useless after a large step."""

NETWORKS = Registry(
    "network",
    {
        "digits-cnn": Network("experiments.models.small:digits_cnn"),
        "mlp-128-128": Network("experiments.models.small:mlp", {"hidden": (128, 128)}),
        "mlp-2": Network("experiments.models.small:mlp", {"hidden": (2,)}),
        "mlp-4": Network("experiments.models.small:mlp", {"hidden": (4,)}),
        "mlp-8": Network("experiments.models.small:mlp", {"hidden": (8,)}),
        "mlp-128": Network("experiments.models.small:mlp", {"hidden": (128,)}),
        "mlp-1000": Network("experiments.models.small:mlp", {"hidden": (1000,)}),
        "mnist-cnn": Network("experiments.models.small:mnist_cnn"),
        "linear": Network("experiments.models.small:linear"),
        "linear-rank1": Network("experiments.models.small:linear", {"rank": 1}),
        "linear-rank4": Network("experiments.models.small:linear", {"rank": 4}),
        "linear-rank10": Network("experiments.models.small:linear", {"rank": 10}),
        "resnet8": Network("experiments.models.resnet:resnet_v2", SHORT | {"depth": 8}),
        "resnet8-narrow": Network("experiments.models.resnet:resnet_v2", SHORT | {"depth": 8, "width": 8}),
        "resnet8-thin": Network("experiments.models.resnet:resnet_v2", SHORT | {"depth": 8, "width": 4}),
        "resnet14": Network("experiments.models.resnet:resnet_v2", SHORT | {"depth": 14}),
        "resnet20": Network("experiments.models.resnet:resnet_v2", SHORT | {"depth": 20}),
        "resnet32": Network("experiments.models.resnet:resnet_v2", {"depth": 32}),
        "resnet34": Network("experiments.models.resnet:resnet34"),
        "densenet40": Network("experiments.models.densenet:densenet40"),
        "densenet40-bottleneck": Network("experiments.models.densenet:densenet40", {"bottleneck": True}),
        "densenet121-small": Network("experiments.models.densenet:densenet121"),
        "mobilenetv2": Network("experiments.models.mobile:mobilenet_v2"),
        "mobilenetv2-narrow": Network("experiments.models.mobile:mobilenet_v2", SHORT | {"width": 0.25}),
        "efficientnetb0": Network("experiments.models.mobile:efficientnet_b0"),
        "lstm": Network("experiments.models.lstm:character_lstm"),
        "resnet50": Network("experiments.models.imagenet:resnet50"),
        "densenet121": Network("experiments.models.imagenet:densenet121"),
    },
    "NETWORKS",
    _accept,
)
