"""Networks: one module per family; each entry builds a network for an input shape and a number of outputs.

A family is imported when one of its networks is asked for, so that a run depends on its own network only.
"""

import importlib
from typing import Any, NamedTuple

from torch import nn

from experiments.errors import UserError, nearest


class Network(NamedTuple):
    """Module of `experiments.models`, the function in it that builds the network, and what it is told."""

    module: str
    function: str
    options: dict[str, Any] = {}  # noqa: RUF012  (a NamedTuple's default, never changed)


NETWORKS = {
    "digits-cnn": Network("small", "digits_cnn"),
    "mlp-128-128": Network("small", "mlp", {"hidden": (128, 128)}),
}


def get(name: str) -> Network:
    """The entry of network `name`; raises UserError with the nearest names if there is none."""
    if name not in NETWORKS:
        raise UserError(f"there is no network {name!r}; {nearest(name, NETWORKS)}")
    return NETWORKS[name]


def build(name: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A new network, initialised from torch's global random state."""
    network = get(name)
    function = getattr(importlib.import_module(f"experiments.models.{network.module}"), network.function)
    return function(shape, outputs, **network.options)
