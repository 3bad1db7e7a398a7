"""All optimizers, one entry each; the values are defaults, which a profile or `settings.NAME=VALUE` changes."""

from dataclasses import dataclass
from typing import Any, Literal

Closure = Literal["forward", "backward", "none"]


@dataclass(frozen=True)
class Entry:
    """One optimizer.

    Attributes:
        target: "module:class"; imported when the optimizer is asked for, so that a run depends on its own only.
        closure: What its step takes: a closure that runs the forward pass, one that also calls backward, or none.
        settings: Every setting a person can change, with its default.
        fixed: Further arguments of the constructor, the same in every run.
        rate: The setting that a schedule multiplies; None for optimizers that have no learning rate.
    """

    target: str
    closure: Closure
    settings: dict[str, Any]
    fixed: dict[str, Any]
    rate: str | None = None


OPTIMIZERS = {
    "pal": Entry("pal.optimizer:PAL", "forward", {"mu": 0.1, "alpha": 1.0, "beta": 0.0, "s_max": 3.16}, {}),
    "sgd": Entry("torch.optim:SGD", "none", {"lr": 0.1, "momentum": 0.9}, {"nesterov": True}, "lr"),
    "adam": Entry(
        "torch.optim:Adam", "none", {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, {}, "lr"
    ),
    "rmsprop": Entry("torch.optim:RMSprop", "none", {"lr": 1e-3, "alpha": 0.9, "eps": 1e-8}, {}, "lr"),
}
