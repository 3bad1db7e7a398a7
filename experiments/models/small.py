"""Small networks for small data: seconds on one CPU core. Weights are PyTorch's own initialisation."""

import math

from torch import nn


def digits_cnn(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """3x3 convolutions of 8 and 16 filters (strides 1, 2), each batch norm, ReLU; dropout .25, dense."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(16 * (height // 2) * (width // 2), outputs),
    )


def mlp(shape: tuple[int, ...], outputs: int, hidden: tuple[int, ...]) -> nn.Module:
    """Dense layers of `hidden` units with ReLU between them."""
    widths = [math.prod(shape), *hidden]
    layers = [layer for pair in zip(widths, hidden, strict=False) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], outputs))
