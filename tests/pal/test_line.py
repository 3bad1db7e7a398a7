"""Lines: moving, evaluating many points, and coming back bit by bit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pal.kernels import run
from pal.line import FlatBuffer, Line, LineRecord, Origin

KINDS = [torch.float32, torch.float64, torch.bfloat16]


def weights(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 5), (7,), (), (2, 3, 4, 4)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    tensors[-1] = tensors[-1].to(memory_format=torch.channels_last)
    return [tensor.requires_grad_() for tensor in tensors]


def direction(params):
    return [torch.randn_like(param) for param in params]


def bits(tensors):
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return [tensor.detach().clone().view(kinds[tensor.itemsize]) for tensor in tensors]


def same_bits(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", KINDS)
def test_moving_goes_the_distance_along_the_unit_direction(dtype):
    params = weights(dtype)
    start, d = [param.detach().clone() for param in params], direction(params)
    Line(params, d).move(0.7)
    norm = math.sqrt(sum(part.double().square().sum().item() for part in d))
    for param, origin, part in zip(params, start, d, strict=True):
        expected = origin.double() + 0.7 / norm * part.double()
        torch.testing.assert_close(param.detach(), expected.to(dtype))


@pytest.mark.parametrize("dtype", KINDS)
def test_restoring_is_bitwise_negative_zeros_included(dtype):
    params = weights(dtype)
    with torch.no_grad():
        params[0][0] = -0.0
    before = bits(params)
    line = Line(params, direction(params))
    for distance in (0.1, -3.0, 1e30, math.inf, math.nan):
        line.move(distance)
    line.restore()
    assert same_bits(bits(params), before)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_a_move_starts_at_the_origin_whatever_came_before(distances):
    params, other = weights(), weights()
    d = direction(params)
    line = Line(params, d)
    for distance in distances:
        line.move(distance)
    Line(other, d).move(distances[-1])
    assert same_bits(bits(params), bits(other))


def test_losses_along_a_line_leave_the_weights_where_they_were():
    (x,) = params = [torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)]
    line = Line(params, [torch.tensor([0.0, -2.0], dtype=torch.float64)])
    line.move(1.5)
    here = bits(params)
    losses = line.losses(lambda: x.square().sum(), torch.linspace(0, 4, 5))
    assert losses.tolist() == pytest.approx([25, 18, 13, 10, 9])
    assert not losses.requires_grad
    assert same_bits(bits(params), here)


def test_losses_leave_the_weights_where_they_were_when_the_closure_fails():
    params = weights()
    before = bits(params)

    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        Line(params, direction(params)).losses(fail, [1.0])
    assert same_bits(bits(params), before)


def test_no_direction_no_move():
    params = weights()
    before = bits(params)
    line = Line(params, [torch.zeros_like(param) for param in params])
    line.move(1.0)
    assert same_bits(bits(params), before)


def test_direction_must_match():
    with pytest.raises(ValueError, match=r"direction holds a \(2,\) tensor for a \(3,\) parameter"):
        Line([torch.zeros(3)], [torch.zeros(2)])


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("strided", [True, False])
def test_strides_that_differ_between_weights_and_direction_do_no_harm(foreach, strided):
    param = torch.arange(12.0).view(3, 4)
    if strided:
        param = torch.arange(24.0).view(3, 8)[:, ::2]
    d = torch.arange(12.0).view(4, 3).t()
    expected = param - 0.5 * d
    origin = Origin([param], foreach)
    origin.save()
    run(origin.prepare_move([d], 0.5), None)
    torch.testing.assert_close(param, expected)


@pytest.mark.parametrize("foreach", [True, False])
def test_scale_on_the_device_is_scale_on_the_host(foreach):
    ours, theirs, d = weights(), weights(), direction(weights())
    for params, scale in ((ours, torch.tensor(0.3)), (theirs, 0.3)):
        origin = Origin(params, foreach)
        with torch.no_grad():
            origin.save()
            run(origin.prepare_move(d, scale, decay=0.1), None)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("foreach", [True, False])
def test_scale_that_is_no_number_moves_nothing(scale, foreach):
    params = weights()
    before = bits(params)
    origin = Origin(params, foreach)
    with torch.no_grad():
        origin.save()
        for form in (scale, torch.tensor(scale)):
            run(origin.prepare_move([torch.full_like(param, math.nan) for param in params], form), None)
    assert same_bits(bits(params), before)


def test_norm_is_exact_to_float32_rounding_for_millions_of_numbers():
    values = torch.randn(3_000_000)
    flat = FlatBuffer([values])
    flat.copy([values])
    assert math.sqrt(flat.dot(flat)) == pytest.approx(values.double().norm().item(), rel=2e-7)


def test_learning_rate_is_zero_where_the_weights_stay():
    numbers = dict.fromkeys(("loss0", "loss_mu", "slope", "curvature"), torch.tensor(0.0))
    flags = {"case": torch.tensor(2), "clipped": torch.tensor(False), "evaluations": 2}
    for step, norm, rate in ((0.0, 0.0, 0.0), (0.0, math.nan, 0.0), (1.0, 4.0, 0.25)):
        record = LineRecord(**numbers, **flags, step=torch.tensor(step), norm=torch.tensor(norm))
        assert record.learning_rate.item() == rate
