"""Residual networks for 32x32 images.

`resnet_v2`: pre-activation (He et al. 2016b) as in TensorFlow's official models, which the paper uses: 3
stages of n basic blocks, 6 n + 2 layers, filters w, 2 w, 4 w with strides 1, 2, 2; a 1x1 projection in the
first block of each stage, on the activated input; convolutions without biases; variance-scaling
initialisation; batch norm with decay .997 by default and epsilon 1e-5.

`resnet34`: the network of the SLS experiments, torchvision's ResNet-34 without max-pool and with a 3x3 stem of
stride 1.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet

from experiments.models.init import fan_in_scaled, glorot_dense

Norm = Callable[[int], nn.Module]


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))); if projecting, with a 1x1 convolution of relu(bn(x)) in place of x."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, norm: Norm) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.norm2 = norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.projection = _conv(inputs, outputs, 1, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = functional.relu(self.norm1(x))
        shortcut = x if self.projection is None else self.projection(active)
        return shortcut + self.conv2(functional.relu(self.norm2(self.conv1(active))))


def _stage(inputs: int, outputs: int, stride: int, blocks: int, norm: Norm) -> list[nn.Module]:
    first = Block(inputs, outputs, stride, True, norm)
    return [first, *(Block(outputs, outputs, 1, False, norm) for _ in range(blocks - 1))]


def resnet_v2(
    shape: tuple[int, ...], outputs: int, depth: int, width: int = 16, memory: float = 0.997
) -> nn.Module:
    """Pre-activation ResNet of `depth` = 6 n + 2 layers with `width` filters in the first stage.

    `memory` is the decay of the running statistics of batch norm.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth {depth} is not 6 n + 2 with n >= 1")
    norm = partial(nn.BatchNorm2d, eps=1e-5, momentum=1 - memory)
    model = nn.Sequential(
        _conv(shape[0], width, 3),
        *_stage(width, width, 1, blocks, norm),
        *_stage(width, 2 * width, 2, blocks, norm),
        *_stage(2 * width, 4 * width, 2, blocks, norm),
        norm(4 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, outputs),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in_scaled(module.weight)
        elif isinstance(module, nn.Linear):
            glorot_dense(module)
    return model


def resnet34(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """torchvision's ResNet-34 with a 3x3 stem of stride 1 and no max-pool."""
    model = resnet.resnet34(num_classes=outputs)
    model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return model
