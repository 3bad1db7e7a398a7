"""Densely connected networks (Huang et al. 2017) for 32x32 images.

`densenet40`: growth 12, three blocks of 12 layers, as in the published code. Each layer is batch norm, ReLU,
3x3 convolution and dropout .2; the first convolution, of 24 filters on the image itself, is the same without
dropout. A transition is batch norm, 1x1 convolution and 2x2 average pool, and keeps the number of filters; the
last block is followed by an 8x8 average pool. Convolutions have biases and Glorot initialisation, batch norm
has TensorFlow's defaults (decay .99, epsilon 1e-3). The published CIFAR-100 file also has a 1x1 convolution to
48 filters before each 3x3 (`bottleneck`), which makes it deeper than 40 layers.

`densenet121`: the network of the SLS experiments, torchvision's DenseNet-121 with a 3x3 stem of stride 1,
without norm and pool.
"""

import torch
from torch import Tensor, nn
from torchvision.models import densenet

from experiments.models.init import glorot_dense

GROWTH, LAYERS, DROPOUT = 12, 12, 0.2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=1 - 0.99)


def _norm_relu_conv(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    return [_norm(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, size, padding=size // 2)]


class Layer(nn.Module):
    """[B, C, H, W] to [B, 12 + C, H, W], with the new feature maps first."""

    def __init__(self, inputs: int, bottleneck: bool) -> None:
        super().__init__()
        squeeze = _norm_relu_conv(inputs, 4 * GROWTH, 1) if bottleneck else []
        grow = _norm_relu_conv(4 * GROWTH if bottleneck else inputs, GROWTH, 3)
        self.new = nn.Sequential(*squeeze, *grow, nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate."""
        return torch.cat((self.new(x), x), 1)


def _block(inputs: int, bottleneck: bool) -> list[nn.Module]:
    return [Layer(inputs + GROWTH * index, bottleneck) for index in range(LAYERS)]


def _transition(channels: int) -> list[nn.Module]:
    return [_norm(channels), nn.Conv2d(channels, channels, 1), nn.AvgPool2d(2)]


def densenet40(shape: tuple[int, ...], outputs: int, bottleneck: bool = False) -> nn.Module:
    """DenseNet-40 of growth 12."""
    first, grown = 2 * GROWTH, LAYERS * GROWTH
    model = nn.Sequential(
        *_norm_relu_conv(shape[0], first, 3),
        *_block(first, bottleneck),
        *_transition(first + grown),
        *_block(first + grown, bottleneck),
        *_transition(first + 2 * grown),
        *_block(first + 2 * grown, bottleneck),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(first + 3 * grown, outputs),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        elif isinstance(module, nn.Linear):
            glorot_dense(module)
    return model


def densenet121(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """torchvision's DenseNet-121 with a 3x3 stem of stride 1 directly before the first block."""
    model = densenet.densenet121(num_classes=outputs)
    stem = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight)
    kept = [(name, part) for name, part in model.features.named_children() if not name.endswith("0")]
    model.features = nn.Sequential()
    for name, part in [("conv0", stem), *kept]:
        model.features.add_module(name, part)
    return model
