"""torchvision's ResNet-50 (He et al. 2016a) and DenseNet-121 (Huang et al. 2017), unchanged.

The published code uses the pre-activation version of ResNet-50 and TF-Slim's DenseNet-121.
"""

from torch import nn
from torchvision import models


def resnet50(shape: tuple[int, ...], outputs: int) -> nn.Module:  # noqa: ARG001
    """ResNet-50."""
    return models.resnet50(num_classes=outputs)


def densenet121(shape: tuple[int, ...], outputs: int) -> nn.Module:  # noqa: ARG001
    """DenseNet-121."""
    return models.densenet121(num_classes=outputs)
