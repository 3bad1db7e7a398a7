"""Small networks for small data, trained in seconds on one CPU core, with PyTorch's default initialisation."""

import math

from torch import nn


def digits_cnn(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """3x3 convolutions of 8 and 16 filters (strides 1, 2), each with batch norm and ReLU; dropout .25, dense layer."""
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


def mnist_cnn(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """5x5 convolutions of 32 and 64 filters, each with ReLU and 2x2 max-pool; dense 1,024 with ReLU; dense layer."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 1024),
        nn.ReLU(),
        nn.Linear(1024, outputs),
    )


def linear(shape: tuple[int, ...], outputs: int, rank: int | None = None) -> nn.Module:
    """A linear map without bias: W x, or W2 W1 x with `rank` hidden units."""
    inputs = math.prod(shape)
    if rank is None:
        return nn.Linear(inputs, outputs, bias=False)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False))
