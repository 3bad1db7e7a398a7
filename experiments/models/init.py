"""Initialisations of the published (TensorFlow) networks that PyTorch lacks."""

import math

import torch
from torch import nn

TRUNCATION = 0.87962566103423978
"""Standard deviation of a standard normal variable truncated at two standard deviations."""


@torch.no_grad()
def truncated_normal(weight: torch.Tensor, deviation: float) -> None:
    """Normal values, truncated at two standard deviations (of the distribution before truncation)."""
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def fan_in_scaled(weight: torch.Tensor) -> None:
    """Variance scaling: truncated normal with variance 1 / fan-in after truncation."""
    fan_in = weight[0].numel()
    truncated_normal(weight, math.sqrt(1 / fan_in) / TRUNCATION)


def glorot_dense(layer: nn.Linear) -> None:
    """Uniform weights of variance 2 / (fan-in + fan-out), zero bias."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
