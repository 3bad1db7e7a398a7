"""Micro-batches are one batch, and loss and gradient have one scale, whoever divides or multiplies on the way."""

import contextlib
import copy
import math

import pytest
import torch
from by_hand import assert_taken, by_hand, data, perceptron
from torch import nn

from pal import PAL
from pal.check import ClosureWarning
from pal.parabola import Case

X, Y = data()
PARTS = [slice(start, start + 4) for start in range(0, 16, 4)]


def squares(model, rows=slice(None)) -> torch.Tensor:
    return (model(X[rows]) - Y[rows]).square().mean()


# -- scales ---------------------------------------------------------------------------------------------------


class Divided:
    """Frameworks divide the loss in their backward."""

    def __init__(self, count):
        self.count = count

    def __call__(self, loss):
        (loss / self.count).backward()


def in_place(loss):
    loss.mul_(0.25).backward()


def by_gradient(loss):
    loss.backward(torch.full_like(loss, 0.25))


def by_autograd(loss):
    torch.autograd.backward(loss, torch.full_like(loss, 0.25))


def by_a_tensor(loss):
    (torch.tensor(0.25, dtype=torch.float64) * loss).backward()


def twice_an_eighth(loss):
    (loss / 8 + loss / 8).backward()


CALLS = {
    "divided": Divided(4),
    "multiplied in place": in_place,
    "a gradient given to backward": by_gradient,
    "a gradient given to autograd": by_autograd,
    "multiplied by a tensor": by_a_tensor,
    "in two parts": twice_an_eighth,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.4}, {"weight_decay": 0.1}, {"beta": 0.4, "weight_decay": 0.1}]
)
def test_a_call_that_scales_scales_the_loss(name, settings):
    model, whole = perceptron(), perceptron()
    one, two = PAL(model.parameters(), **settings), PAL(whole.parameters(), **settings)
    for _ in range(3):
        losses = [one.backward(lambda rows=rows: squares(model, rows), CALLS[name]) for rows in PARTS]
        expected = two.step(lambda: squares(whole))
        returned = one.step()
        assert returned.item() == pytest.approx(expected.item(), rel=1e-9)
        for field in ("loss0", "loss_mu", "slope", "step", "norm"):
            assert float(getattr(one.line, field)) == pytest.approx(
                float(getattr(two.line, field)), rel=1e-7
            ), field
        torch.testing.assert_close(list(model.parameters()), list(whole.parameters()), rtol=1e-9, atol=1e-9)
        assert all(loss.shape == () and not loss.requires_grad for loss in losses)


@pytest.mark.parametrize("form", ["share in the closure", "torch's form"])
def test_micro_batches_are_one_batch(form):
    model = perceptron()
    optimizer = PAL(model.parameters())

    def closure(rows):
        loss = squares(model, rows) / 4
        if form == "torch's form":
            loss.backward()
        return loss

    for _ in range(3):
        right = by_hand(model, squares)
        for rows in PARTS:
            optimizer.backward(lambda rows=rows: closure(rows))
        optimizer.step()
        assert_taken(optimizer, model, right)
        assert optimizer.line.evaluations == 8


def test_micro_batches_of_different_sizes():
    model = perceptron()
    optimizer, parts = PAL(model.parameters()), [slice(0, 1), slice(1, 4), slice(4, 16)]
    for _ in range(3):
        right = by_hand(model, squares)
        for rows in parts:
            share = (rows.stop - rows.start) / 16
            optimizer.backward(lambda rows=rows, share=share: share * squares(model, rows))
        optimizer.step()
        assert_taken(optimizer, model, right)


def test_each_micro_batch_counts_in_the_statistics_of_batch_norm():
    model = perceptron(nn.BatchNorm1d(4))
    twin, optimizer = copy.deepcopy(model), PAL(model.parameters())
    for rows in PARTS:
        optimizer.backward(lambda rows=rows: squares(model, rows) / 4)
        twin(X[rows])
    optimizer.step()
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("settings", [{}, {"beta": 0.4}])
def test_accelerate(settings):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    model, whole = perceptron(), perceptron()
    one, two = PAL(model.parameters(), **settings), PAL(whole.parameters(), **settings)
    for _ in range(3):
        for rows in PARTS:
            with accelerator.accumulate(model):
                one.backward(lambda rows=rows: squares(model, rows), accelerator.backward)
        one.step()
        two.step(lambda: squares(whole))
        torch.testing.assert_close(list(model.parameters()), list(whole.parameters()), rtol=1e-9, atol=1e-9)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


# -- batches given up -----------------------------------------------------------------------------------------


def test_zero_grad_gives_a_batch_up():
    model = perceptron(nn.BatchNorm1d(4))
    optimizer = PAL(model.parameters())
    optimizer.backward(lambda: 100 * squares(model))
    optimizer.zero_grad()
    right = by_hand(model, squares)
    optimizer.step(lambda: squares(model))
    assert_taken(optimizer, model, right)


@pytest.mark.parametrize("fails_at", range(8))
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_an_error_in_any_evaluation_gives_the_whole_batch_back(fails_at, beta):
    model, undisturbed = (
        perceptron(nn.BatchNorm1d(4), nn.Dropout(0.2)),
        perceptron(nn.BatchNorm1d(4), nn.Dropout(0.2)),
    )
    one, two = PAL(model.parameters(), beta=beta), PAL(undisturbed.parameters(), beta=beta)
    calls = []

    def batch(model, optimizer, fails_at=None):
        calls.clear()

        def closure(rows):
            calls.append(rows)
            loss = squares(model, rows) / 4
            if len(calls) - 1 == fails_at:
                raise MemoryError
            return loss

        for rows in PARTS:
            optimizer.backward(lambda rows=rows: closure(rows))
        optimizer.step()

    torch.manual_seed(0)
    for _ in range(5):
        batch(undisturbed, two)
    torch.manual_seed(0)
    for _ in range(4):
        batch(model, one)
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(MemoryError):
        batch(model, one, fails_at)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    batch(model, one)
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


# -- mixed precision ------------------------------------------------------------------------------------------


def scaled(optimizer, scaler, closure, overflow=1.0):
    return optimizer.backward(closure, lambda loss: (scaler.scale(loss) * overflow).backward())


def unscaled_then_stepped(optimizer, scaler):
    scaler.unscale_(optimizer)
    return optimizer.step()


def unscaled_then_scalers_step(optimizer, scaler):
    scaler.unscale_(optimizer)
    return scaler.step(optimizer)


def scalers_step(optimizer, scaler):
    return scaler.step(optimizer)


WAYS = [unscaled_then_stepped, unscaled_then_scalers_step, scalers_step]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.4}, {"weight_decay": 0.1}, {"maximize": True, "s_max": 0.1}]
)
def test_a_scaler_changes_nothing(way, settings):
    model, plain = perceptron(), perceptron()
    one, two = PAL(model.parameters(), **settings), PAL(plain.parameters(), **settings)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    for _ in range(5):
        scaled(one, scaler, lambda: squares(model))
        returned = way(one, scaler)
        scaler.update()
        expected = two.step(lambda: squares(plain))
        assert returned.item() == pytest.approx(expected.item(), rel=1e-9)
        for field in ("loss0", "loss_mu", "slope"):
            assert float(getattr(one.line, field)) == pytest.approx(
                float(getattr(two.line, field)), rel=1e-9
            ), field
        torch.testing.assert_close(list(model.parameters()), list(plain.parameters()), rtol=1e-7, atol=1e-9)
    assert scaler.get_scale() == 2.0**12


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_scaler_and_micro_batches(way):
    model = perceptron()
    optimizer, scaler = PAL(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for _ in range(3):
        right = by_hand(model, squares)
        for rows in PARTS:
            scaled(optimizer, scaler, lambda rows=rows: squares(model, rows) / 4)
        way(optimizer, scaler)
        scaler.update()
        assert_taken(optimizer, model, right)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("overflow", [math.inf, math.nan])
def test_an_overflow_is_one_skipped_step(way, beta, overflow):
    model, plain = perceptron(), perceptron()
    one, two = PAL(model.parameters(), beta=beta), PAL(plain.parameters(), beta=beta)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for number in range(5):
        bad = number in (0, 2)
        before, scale = [param.detach().clone() for param in model.parameters()], scaler.get_scale()
        scaled(one, scaler, lambda: squares(model), overflow if bad else 1.0)
        way(one, scaler)
        scaler.update()
        if bad:
            assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
            assert scaler.get_scale() == scale / 2
        else:
            two.step(lambda: squares(plain))
            torch.testing.assert_close(
                list(model.parameters()), list(plain.parameters()), rtol=1e-7, atol=1e-9
            )
    assert one.cases[Case.NONFINITE] in (0, 2), "counted, or skipped by the scaler"
    assert sum(two.cases.values()) == 3


def test_a_scaler_after_autocast_in_float16():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer, scaler = PAL(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**20)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", torch.float16):
            loss = scaled(optimizer, scaler, lambda: (model(X.float()).float() - Y.float()).square().mean())
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert scaler.get_scale() <= 2.0**20


def test_a_disabled_scaler():
    model = perceptron()
    optimizer, scaler = PAL(model.parameters()), torch.amp.GradScaler("cpu", enabled=False)
    for way in WAYS:
        right = by_hand(model, squares)
        scaled(optimizer, scaler, lambda: squares(model))
        way(optimizer, scaler)
        scaler.update()
        assert_taken(optimizer, model, right)


def test_two_optimizers_with_one_scaler():
    """SGD beside PAL: the scaler serves both, and an overflow in one stops the other no longer than a step."""
    model, other = perceptron(), nn.Linear(3, 1).double()
    ours, theirs = PAL(model.parameters()), torch.optim.SGD(other.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for number in range(4):
        right = by_hand(model, squares)
        theirs.zero_grad()
        scaler.scale((other(X) - Y).square().mean()).backward()
        scaled(ours, scaler, lambda: squares(model), math.inf if number == 1 else 1.0)
        scaler.step(theirs)
        scaler.step(ours)
        scaler.update()
        if number != 1:
            assert_taken(ours, model, right)


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.__name__)
@pytest.mark.parametrize("limit", [1e6, 1.0])
def test_clipping_after_unscaling(way, limit):
    """The loss is that of scale 1, whatever clipping does to the gradient; and of clipping the check says a word."""
    model = perceptron()
    optimizer, scaler = PAL(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    loss = lambda model: (model(X) - 9 * Y).square().sum()

    def steps():
        for _ in range(3):
            right = by_hand(model, loss)
            optimizer.backward(lambda: loss(model), lambda value: scaler.scale(value).backward())
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            returned = scaler.step(optimizer) if way is unscaled_then_scalers_step else optimizer.step()
            scaler.update()
            assert returned.item() == pytest.approx(right.loss0, rel=1e-9)
            assert float(optimizer.line.loss_mu) == pytest.approx(right.loss_mu, rel=1e-9)

    if limit == 1e6:
        steps()
    else:
        with pytest.warns(ClosureWarning, match="gradient is not that of the closure's loss.*clipped"):
            steps()


@pytest.mark.parametrize("around", [contextlib.nullcontext, torch.no_grad])
def test_a_call_under_any_gradient_mode(around):
    model = perceptron()
    optimizer = PAL(model.parameters())
    right = by_hand(model, squares)
    with around():
        optimizer.backward(lambda: squares(model))
        optimizer.step()
    assert_taken(optimizer, model, right)
