"""Networks: one module per family; each entry builds a network for an input shape and a number of outputs.

A family is imported when one of its networks is asked for, so that a run depends on its own network only.
"""

import importlib

from torch import nn

from experiments.errors import UserError, nearest
from experiments.models.catalogue import NETWORKS, Network


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
