"""Networks: parameters counted by hand, logits of torchvision, published initialisation and constants."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import densenet121, efficientnet_b0, resnet34, resnet50

from experiments import models
from experiments.common.errors import UserError
from experiments.models import NETWORKS
from experiments.models.init import TRUNCATION, fan_in_scaled
from experiments.models.resnet import resnet_v2

CIFAR = (3, 32, 32)


def build(name, shape=CIFAR, outputs=10, seed=0):
    torch.manual_seed(seed)
    return models.build(name, shape, outputs)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def norm(channels):
    return 2 * channels


def conv(inputs, outputs, size, bias=False):
    return inputs * outputs * size**2 + outputs * bias


def resnet_by_hand(blocks, width, classes):
    """Stem; per stage a projecting block and plain ones; final norm; dense."""
    total, inputs = conv(3, width, 3), width
    for outputs in (width, 2 * width, 4 * width):
        total += norm(inputs) + conv(inputs, outputs, 3) + norm(outputs) + conv(outputs, outputs, 3)
        total += conv(inputs, outputs, 1)
        total += (blocks - 1) * 2 * (norm(outputs) + conv(outputs, outputs, 3))
        inputs = outputs
    return total + norm(inputs) + inputs * classes + classes


def densenet40_by_hand(classes, bottleneck):
    def layer(inputs):
        if not bottleneck:
            return norm(inputs) + conv(inputs, 12, 3, bias=True)
        return norm(inputs) + conv(inputs, 48, 1, bias=True) + norm(48) + conv(48, 12, 3, bias=True)

    total = norm(3) + conv(3, 24, 3, bias=True)
    channels = 24
    for block in range(3):
        total += sum(layer(channels + 12 * index) for index in range(12))
        channels += 144
        if block < 2:
            total += norm(channels) + conv(channels, channels, 1, bias=True)
    return total + channels * classes + classes


def mobilenet_by_hand(classes):
    # (expansion, input, output) of all 17 blocks.
    chain = [3, 16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
    total = 0
    for index, (inputs, outputs) in enumerate(pairwise(chain)):
        hidden = inputs if index == 0 else 6 * inputs
        total += 0 if index == 0 else conv(inputs, hidden, 1) + norm(hidden)
        total += 9 * hidden + norm(hidden) + conv(hidden, outputs, 1) + norm(outputs)
    return total + conv(320, 1280, 1) + norm(1280) + 1280 * classes + classes


def efficientnet_by_hand(classes):
    # Expansion, kernel, outputs, repetitions: Table 1 of the EfficientNet paper.
    stages = [
        (1, 3, 16, 1),
        (6, 3, 24, 2),
        (6, 5, 40, 2),
        (6, 3, 80, 3),
        (6, 5, 112, 3),
        (6, 5, 192, 4),
        (6, 3, 320, 1),
    ]
    total, inputs = conv(3, 32, 3) + norm(32), 32
    for expansion, size, outputs, repetitions in stages:
        for _ in range(repetitions):
            hidden, squeezed = expansion * inputs, inputs // 4
            total += conv(inputs, hidden, 1) + norm(hidden) if expansion > 1 else 0
            total += size**2 * hidden + norm(hidden)
            total += conv(hidden, squeezed, 1, bias=True) + conv(squeezed, hidden, 1, bias=True)
            total += conv(hidden, outputs, 1) + norm(outputs)
            inputs = outputs
    return total + conv(320, 1280, 1) + norm(1280) + 1280 * classes + classes


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("resnet8", lambda classes: resnet_by_hand(1, 16, classes)),
        ("resnet8-narrow", lambda classes: resnet_by_hand(1, 8, classes)),
        ("resnet14", lambda classes: resnet_by_hand(2, 16, classes)),
        ("resnet20", lambda classes: resnet_by_hand(3, 16, classes)),
        ("resnet32", lambda classes: resnet_by_hand(5, 16, classes)),
        ("densenet40", lambda classes: densenet40_by_hand(classes, False)),
        ("densenet40-bottleneck", lambda classes: densenet40_by_hand(classes, True)),
        ("mobilenetv2", mobilenet_by_hand),
        ("efficientnetb0", efficientnet_by_hand),
    ],
)
def test_parameters_counted_by_hand(name, by_hand, classes):
    assert count(build(name, outputs=classes)) == by_hand(classes)


def test_parameters_of_the_lstm_counted_by_hand():
    layer = 4 * 128 * (128 + 128) + 2 * 4 * 128  # PyTorch has two bias vectors where TensorFlow has one
    assert count(build("lstm", (50,), 83)) == 83 * 128 + 2 * layer + 128 * 83 + 83


@pytest.mark.parametrize(("name", "original"), [("resnet50", resnet50), ("densenet121", densenet121)])
def test_unchanged_networks_have_torchvisions_logits(name, original):
    ours, theirs = build(name, (3, 64, 64), 20).eval(), original(num_classes=20).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_efficientnet_but_for_the_stem_has_torchvisions_logits():
    ours, theirs = build("efficientnetb0").eval(), efficientnet_b0(num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    theirs.features[0][0].stride = (1, 1)
    images = torch.randn(1, *CIFAR)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_resnet34_after_the_stem_is_torchvisions():
    ours, theirs = build("resnet34").eval(), resnet34(num_classes=10).eval()
    kept = {name: value for name, value in theirs.state_dict().items() if name != "conv1.weight"}
    assert ours.load_state_dict(kept, strict=False).missing_keys == ["conv1.weight"]
    theirs.conv1, theirs.maxpool = ours.conv1, nn.Identity()
    images = torch.randn(1, *CIFAR)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
        assert ours.conv1(images).shape == (1, 64, 32, 32)


def test_densenet121_after_the_stem_is_torchvisions():
    ours, theirs = build("densenet121-small").eval(), densenet121(num_classes=10).eval()
    stem = ("features.conv0", "features.norm0")
    rest = {name: value for name, value in theirs.state_dict().items() if not name.startswith(stem)}
    assert ours.load_state_dict(rest, strict=False).missing_keys == ["features.conv0.weight"]
    theirs.features.conv0 = ours.features.conv0
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    images = torch.randn(1, *CIFAR)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def hooked_sizes(model, kind, shape=CIFAR):
    """Spatial sizes of the outputs of all modules of a kind, one example."""
    sizes = []
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[-2:])))
    with torch.no_grad():
        model.eval()(torch.randn(1, *shape))
    return sizes


@pytest.mark.parametrize(
    ("name", "last"), [("resnet8", 8), ("densenet40", 8), ("mobilenetv2", 4), ("efficientnetb0", 2)]
)
def test_spatial_sizes(name, last):
    sizes = hooked_sizes(build(name), nn.BatchNorm2d)
    assert sizes[0] == (32, 32)
    assert sizes[-1] == (last, last)


def test_resnet_v2_is_preactivated_by_the_book():
    model = build("resnet8").train()
    weights = list(model.parameters())
    images = torch.randn(4, *CIFAR)

    def active(x, index):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        return functional.relu((x - mean) / (variance + 1e-5).sqrt())  # scale 1 and shift 0 at the start

    x = functional.conv2d(images, weights[0], padding=1)
    index = 1
    for stride in (1, 2, 2):
        first, second, projection = (weights[index + offset] for offset in (2, 5, 6))
        a = active(x, index)
        hidden = functional.conv2d(a, first, stride=stride, padding=1)
        x = functional.conv2d(a, projection, stride=stride)
        x = x + functional.conv2d(active(hidden, index), second, padding=1)
        index += 7
    logits = active(x, index).mean((2, 3)) @ weights[index + 2].T + weights[index + 3]
    torch.testing.assert_close(model(images), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "epsilon", "momentum"),
    [
        ("resnet32", 1e-5, 0.997),
        ("resnet8", 1e-5, 0.9),
        ("mobilenetv2-narrow", 1e-3, 0.9),
        ("densenet40", 1e-3, 0.99),
        ("mobilenetv2", 1e-3, 0.997),
        ("efficientnetb0", 1e-3, 0.99),
    ],
)
def test_batch_norm_constants(name, epsilon, momentum):
    norms = [module for module in build(name).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.eps for module in norms} == {epsilon}
    assert {module.momentum for module in norms} == {1 - momentum}


def convolutions(name):
    return [module for module in build(name).modules() if isinstance(module, nn.Conv2d)]


def test_resnet_initialisation_is_variance_scaling():
    for module in convolutions("resnet32"):
        fan_in = module.in_channels * module.kernel_size[0] ** 2
        bound = 2 * math.sqrt(1 / fan_in) / TRUNCATION
        assert module.bias is None
        assert module.weight.abs().max() <= bound
        if module.weight.numel() > 5_000:
            assert module.weight.var().item() == pytest.approx(1 / fan_in, rel=0.1)


def test_variance_scaling_has_the_variance_it_says():
    weight = torch.empty(1000, 50, 2, 2)
    fan_in_scaled(weight)
    assert weight.var().item() == pytest.approx(1 / 200, rel=0.02)


def test_densenet_initialisation_is_glorot():
    for module in convolutions("densenet40"):
        fans = (module.in_channels + module.out_channels) * module.kernel_size[0] ** 2
        assert module.weight.abs().max() <= math.sqrt(6 / fans)
        assert module.bias.abs().max() == 0


def test_mobilenet_initialisation_is_truncated_normal():
    weights = torch.cat([module.weight.flatten() for module in convolutions("mobilenetv2")])
    assert weights.abs().max() <= 0.18
    assert weights.std().item() == pytest.approx(0.09 * TRUNCATION, rel=0.01)


def test_efficientnet_initialisation_scales_with_one_filters_fan_out():
    for module in convolutions("efficientnetb0"):
        if module.weight.numel() > 5_000:
            fan_out = module.out_channels // module.groups * module.kernel_size[0] ** 2
            assert module.weight.var().item() == pytest.approx(2 / fan_out, rel=0.1)


def test_densenet_dropout_is_in_every_layer():
    layers = [module for module in build("densenet40").modules() if isinstance(module, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.2] * 36


def test_lstm_starts_every_row_from_zero():
    model = build("lstm", (50,), 83).train()
    characters = torch.randint(0, 83, (3, 50))
    first = model(characters)
    assert torch.equal(first, model(characters))
    torch.testing.assert_close(first[1:2], model(characters[1:2]))
    assert first.shape == (3, 50, 83)


def test_lstm_sees_only_the_past():
    model = build("lstm", (50,), 83)
    characters = torch.randint(0, 83, (1, 50))
    changed = characters.clone()
    changed[0, 30] = (changed[0, 30] + 1) % 83
    before, after = model(characters), model(changed)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.equal(before[:, 30:], after[:, 30:])


def test_lstm_remembers_at_the_start():
    state = build("lstm", (50,), 83).lstm.state_dict()
    for layer in (0, 1):
        forget = state[f"bias_ih_l{layer}"] + state[f"bias_hh_l{layer}"]
        assert forget.tolist() == [0.0] * 128 + [1.0] * 128 + [0.0] * 256
        assert state[f"weight_ih_l{layer}"].abs().max() <= math.sqrt(6 / 768)


@pytest.mark.parametrize(("name", "parameters"), [("linear", 60), ("linear-rank1", 16), ("linear-rank4", 64)])
def test_linear_networks(name, parameters):
    model = build(name, (6,), 10)
    assert count(model) == parameters
    x = torch.randn(2, 6)
    torch.testing.assert_close(model(3 * x), 3 * model(x))


def test_depth_must_be_possible():
    with pytest.raises(ValueError, match=r"depth 9 is not 6 n \+ 2"):
        resnet_v2(CIFAR, 10, depth=9)


def test_unknown_network():
    with pytest.raises(UserError, match=r"there is no network 'resnet31'; did you mean .*'resnet32'"):
        NETWORKS["resnet31"]
