"""Networks: one module per family; a function builds each for an input shape and a number of outputs."""

from experiments.models.build import build
from experiments.models.registry import NETWORKS, Network
