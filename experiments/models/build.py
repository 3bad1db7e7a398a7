"""Networks by name."""

from torch import nn

from experiments.common.registry import load
from experiments.models.registry import NETWORKS


def build(name: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Build a network, initialised from torch's global random state; raises UserError for an unknown name."""
    network = NETWORKS[name]
    return load(network.target)(shape, outputs, **network.options)
