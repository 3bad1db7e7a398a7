"""Networks: one module per family; each function builds a network for an input shape and a number of outputs."""

from experiments.models.build import build
from experiments.models.registry import NETWORKS, Network

__all__ = ["NETWORKS", "Network", "build"]
