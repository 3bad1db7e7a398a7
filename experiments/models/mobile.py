"""MobileNetV2 (Sandler et al. 2018) and EfficientNet-B0 (Tan and Le 2019) for 32x32, from torchvision's blocks.

MobileNetV2 has no 3x3 stem, and the block of 24 filters has stride 1; the other strides are kept (output 4x4).
It has dropout .2 before the classifier, truncated normal weights of standard deviation .09, and batch norm with
decay .997 by default and epsilon 1e-3 (the default of the published library). EfficientNet-B0 is torchvision's
with a stem of stride 1, batch norm with decay .99 and epsilon 1e-3, and the published initialisation of
depthwise convolutions, where the fan-out is that of one filter.
"""

import math
from functools import partial

from torch import Tensor, nn
from torchvision.models import efficientnet, mobilenetv2
from torchvision.ops.misc import Conv2dNormActivation

from experiments.models.init import truncated_normal

# Expansion, filters, repetitions and stride of each group of blocks: table 2 of the MobileNetV2 paper, except for
# the stride 1 of the second.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _divisible(filters: float) -> int:
    """The nearest multiple of 8 that is at least 8 and 90 % of `filters`: the rule of the MobileNets."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest


class MobileNetV2(nn.Module):
    """Inverted residual blocks with `width` times the published filters, 1x1 head, average pool, dropout, dense."""

    def __init__(self, channels: int, outputs: int, width: float, memory: float) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=1 - memory)
        inputs, features = channels, []
        for expansion, filters, repetitions, stride in BLOCKS:
            for index in range(repetitions):
                filters_here = _divisible(filters * width)
                stride_here = stride if index == 0 else 1
                features.append(
                    mobilenetv2.InvertedResidual(
                        inputs, filters_here, stride_here, expansion, norm_layer=norm
                    )
                )
                inputs = filters_here
        head = _divisible(1280 * max(1.0, width))
        features.append(Conv2dNormActivation(inputs, head, 1, norm_layer=norm, activation_layer=nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2(
    shape: tuple[int, ...], outputs: int, width: float = 1.0, memory: float = 0.997
) -> nn.Module:
    """MobileNetV2 without the stem; `memory` is the decay of the running statistics of batch norm."""
    model = MobileNetV2(shape[0], outputs, width, memory)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            truncated_normal(module.weight, 0.09)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model


def efficientnet_b0(shape: tuple[int, ...], outputs: int) -> nn.Module:  # noqa: ARG001
    """torchvision's EfficientNet-B0 with a stem of stride 1."""
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=1 - 0.99)
    model = efficientnet.efficientnet_b0(num_classes=outputs, norm_layer=norm)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    stem = model.features[0][0]  # pyright: ignore[reportIndexIssue]
    stem.stride = (1, 1)
    return model
