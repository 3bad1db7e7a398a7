"""The first steps say if a closure is not one function of the weights or a gradient not its own, and only then."""

import copy
import itertools
import math
import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from by_hand import by_hand, data, perceptron
from torch import nn
from torch.nn.functional import cross_entropy, dropout, kl_div, log_softmax, softmax

from pal import PAL
from pal.baselines import QLABGrad
from pal.check import ClosureWarning

X, Y = data()


def sentences(run) -> list[str]:
    """What was said meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(each.message) for each in caught if issubclass(each.category, ClosureWarning)]


# -- causes that get their sentence ---------------------------------------------------------------------------


def new_batch(model, optimizer):
    batches = itertools.cycle(zip(X.split(4), Y.split(4), strict=True))

    def loss():
        x, y = next(batches)
        return (model(x) - y).square().mean()

    for _ in range(4):
        optimizer.step(loss)


def new_batch_from_a_loader(model, optimizer):
    dataset = torch.utils.data.TensorDataset(X.repeat(20, 1), Y.repeat(20, 1))
    loader = iter(torch.utils.data.DataLoader(dataset, batch_size=4))

    def loss():
        x, y = next(loader)
        return (model(x) - y).square().mean()

    for _ in range(4):
        optimizer.step(loss)


def late_binding(model, optimizer):
    for _ in range(4):
        for x, y in zip(X.split(4), Y.split(4), strict=True):
            optimizer.backward(lambda: (model(x) - y).square().mean() / 4)  # the fault
        optimizer.step()


def batch_changed_by_index(model, optimizer):
    """What the closure works on lies in a file, where nobody brings it back."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "batch.pt"
        torch.save(X, place)

        def loss():
            x = torch.load(place) * 1.5
            torch.save(x, place)
            return (model(x) - Y).square().mean()

        for _ in range(4):
            optimizer.step(loss)


def foreign_randomness(model, optimizer):
    for _ in range(4):
        optimizer.step(lambda: (model(X) * (1 + os.urandom(1)[0] / 255) - Y).square().mean())


def hidden_state_in_a_variable(model, optimizer):
    """Recurrent, and rebound at every call."""
    hidden = torch.zeros(4, dtype=X.dtype)

    def loss():
        nonlocal hidden
        out = model[1](model[0](X) + hidden)
        hidden = hidden + out.detach().mean(0) + 1
        return (model[2](out) - Y).square().mean()

    for _ in range(4):
        optimizer.step(loss)


def hidden_state_in_an_object(model, optimizer):
    class Holder:
        hidden = torch.zeros(4, dtype=X.dtype)

    holder = Holder()

    def loss():
        out = model[1](model[0](X) + holder.hidden)
        holder.hidden = holder.hidden + out.detach().mean(0) + 1
        return (model[2](out) - Y).square().mean()

    for _ in range(4):
        optimizer.step(loss)


CHANGING = [
    hidden_state_in_a_variable,
    hidden_state_in_an_object,
    new_batch,
    new_batch_from_a_loader,
    late_binding,
    batch_changed_by_index,
    foreign_randomness,
]


def clipped_gradient(model, optimizer):
    for _ in range(4):
        optimizer.backward(lambda: (model(X) - 9 * Y).square().sum())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def clipped_by_value(model, optimizer):
    for _ in range(4):
        optimizer.backward(lambda: (model(X) - 9 * Y).square().sum())
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()


def clipped_by_hooks(model, optimizer):
    for param in model.parameters():
        param.register_hook(lambda g: g.clamp(-0.1, 0.1))
    for _ in range(4):
        optimizer.step(lambda: (model(X) - 9 * Y).square().sum())


def divided_elsewhere(model, optimizer):
    """The gradient is a mean, the loss a sum; nobody told."""
    for _ in range(4):
        optimizer.backward(lambda: (model(X) - Y).square().sum())
        for param in model.parameters():
            param.grad /= 16
        optimizer.step()


def scaled_in_the_closure(model, optimizer):
    """Torch's form with a scaled backward pass."""

    def loss():
        optimizer.zero_grad()
        value = (model(X) - Y).square().mean()
        (value * 1024).backward()
        return value

    for _ in range(4):
        optimizer.step(loss)


def detached_by_mistake(model, optimizer):
    """Half of the loss has no gradient."""
    for _ in range(4):
        optimizer.step(lambda: (model(X) - Y).square().mean() + (model(X).detach() - Y).square().mean())


WRONG_GRADIENT = [
    clipped_gradient, clipped_by_value, clipped_by_hooks, divided_elsewhere, scaled_in_the_closure, detached_by_mistake
]  # fmt: skip


def encoder_outside(model, optimizer):
    for _ in range(4):
        hidden = model[:2](X)
        optimizer.step(lambda hidden=hidden: (model[2](hidden) - Y).square().mean())


def penalty_outside(model, optimizer):
    for _ in range(4):
        penalty = sum(param.square().sum() for param in model.parameters())
        optimizer.step(lambda penalty=penalty: (model(X) - Y).square().mean() + penalty)


def weights_computed_outside(model, optimizer):
    for _ in range(4):
        weight = model[2].weight * 2
        optimizer.step(lambda weight=weight: (model[:2](X) @ weight.t() - Y).square().mean())


def whole_loss_outside(model, optimizer):
    for _ in range(4):
        loss = (model(X) - Y).square().mean()
        optimizer.step(lambda loss=loss: loss)


OUTSIDE = [encoder_outside, penalty_outside, weights_computed_outside, whole_loss_outside]

CAUSES = [
    *(
        (fault, "not the same function each time.*fetches a new batch.*lambda.*changes the batch in place")
        for fault in CHANGING
    ),
    *(
        (fault, "gradient is not that of the closure's loss.*clipped.*scaled.*divided")
        for fault in WRONG_GRADIENT
    ),
    *((fault, "outside the closure") for fault in OUTSIDE),
]


@pytest.mark.parametrize(("fault", "sentence"), CAUSES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_every_cause_gets_its_sentence(fault, sentence, beta):
    model = perceptron()
    optimizer = PAL(model.parameters(), beta=beta)
    (said,) = sentences(lambda: fault(model, optimizer))
    assert re.search(sentence, said)
    assert said.endswith("check=False"), "the way to switch it off"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [8, 64])
def test_a_new_batch_at_every_call_is_seen_in_every_dtype(dtype, size):
    for seed in range(10):
        torch.manual_seed(seed)
        centers = torch.randn(10, 20)
        model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10)).to(dtype)
        optimizer = PAL(model.parameters())

        def loss(model=model, centers=centers):
            generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big"))
            y = torch.randint(10, (size,), generator=generator)
            x = centers[y] + torch.randn(size, 20, generator=generator)
            return cross_entropy(model(x.to(dtype)).float(), y)

        (said,) = sentences(lambda loss=loss, optimizer=optimizer: [optimizer.step(loss) for _ in range(6)])
        assert said.startswith("the closure is not the same function each time")


@pytest.mark.parametrize("fault", [cause for cause, _ in CAUSES], ids=lambda fault: fault.__name__)
def test_the_check_can_be_switched_off(fault):
    model = perceptron()
    optimizer = PAL(model.parameters(), check=False)
    assert sentences(lambda: fault(model, optimizer)) == []


def test_nothing_is_said_twice():
    model = perceptron()
    optimizer = PAL(model.parameters())
    said = sentences(lambda: [divided_elsewhere(model, optimizer) for _ in range(5)])
    assert len(said) == 1


def test_the_warning_points_at_the_line_that_calls_step():
    model = perceptron()
    optimizer = PAL(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        divided_elsewhere(model, optimizer)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["dropped in place", "normalised in place"])
def test_a_batch_changed_in_place_is_brought_back(name):
    model, x = perceptron(), 5 * X + 3

    def changed(model, x):
        if name == "dropped in place":
            return (model(dropout(x, 0.3, inplace=True)) - Y).square().mean()
        return (model(x.sub_(3).div_(5)) - Y).square().mean()

    optimizer = PAL(model.parameters())
    for _ in range(3):
        right, batch = by_hand(model, lambda model: changed(model, x.clone())), x.clone()
        optimizer.step(lambda: changed(model, x))
        assert float(optimizer.line.loss_mu) == pytest.approx(right.loss_mu, rel=1e-9)
        x.copy_(batch)


def test_the_gradient_is_looked_at_for_baselines_too():
    model = perceptron()
    for param in model.parameters():
        param.register_hook(lambda g: g * 10)
    optimizer = QLABGrad(model.parameters())

    def train():
        for _ in range(4):
            optimizer.step(lambda: (model(X) - Y).square().mean())

    with pytest.warns(ClosureWarning, match="gradient is not that of the closure's loss"):
        train()


# -- no word for right closures -------------------------------------------------------------------------------


def classifier(dtype, seed, *middle):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 24), *middle, nn.ReLU(), nn.Linear(24, 5)).to(dtype)


def batch(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 12, generator=generator).to(dtype), torch.randint(5, (32,), generator=generator)


def entropy(model, x, y):
    return cross_entropy(model(x), y)


def entropy_in_float32(model, x, y):
    return cross_entropy(model(x).float(), y)


def smoothed(model, x, y):
    return cross_entropy(model(x), y, label_smoothing=0.1)


def summed(model, x, y):
    return cross_entropy(model(x), y, reduction="sum")


def tiny(model, x, y):
    return cross_entropy(model(x).float(), y) * 1e-6


def hinge(model, x, y):
    return nn.functional.multi_margin_loss(model(x).float(), y)


def absolute(model, x, y):
    return (model(x).float() - 1).abs().mean()


def divergence(model, x, y):
    return kl_div(log_softmax(model(x).float(), 1), softmax(x[:, :5].float(), 1), reduction="batchmean")


def regularised(model, x, y):
    return cross_entropy(model(x), y) + 1e-2 * sum(
        param.float().square().sum() for param in model.parameters()
    )


def negative(model, x, y):
    """A loss below zero, such as a log-likelihood or a reward."""
    return softmax(model(x).float(), 1)[:, 0].mean().neg()


def around_zero(model, x, y):
    """A critic's difference of means, which crosses zero."""
    scores = model(x).float()
    return scores[:16].mean() - scores[16:].mean()


def large_offset(model, x, y):
    """A small variable part on a large constant."""
    return cross_entropy(model(x), y).float() + 1000


def in_autocast(model, x, y):
    """Less precise than the weights."""
    with torch.autocast("cpu", torch.float16 if x.dtype is torch.float16 else torch.bfloat16):
        return around_zero(model, x, y)


LOSSES = [
    entropy, entropy_in_float32, smoothed, summed, tiny, hinge, absolute, divergence, regularised, negative,
    around_zero, large_offset, in_autocast,
]  # fmt: skip
MUS = [1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("mu", MUS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_no_word_for_right_closures(loss, dtype, mu):
    """Warnings are errors here."""
    for seed, middle in enumerate(
        [(), (nn.BatchNorm1d(24),), (nn.LayerNorm(24), nn.Dropout(0.3)), (nn.Tanh(),)]
    ):
        model = classifier(dtype, seed, *middle)
        x, y = batch(dtype, seed)
        optimizer = PAL(model.parameters(), mu=mu, beta=0.4 * (seed % 2))
        for _ in range(5):
            optimizer.step(lambda: loss(model, x, y))


def test_no_word_over_many_trainings_in_bfloat16():
    for mu in (0.1, 0.0316, 0.01):
        for seed in range(10):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).bfloat16()
            x, y = torch.randn(32, 64).bfloat16(), torch.randint(10, (32,))
            optimizer = PAL(model.parameters(), mu=mu)
            for _ in range(5):
                optimizer.step(lambda: cross_entropy(model(x), y))


@pytest.mark.parametrize("mu", MUS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_no_word_under_autocast(dtype, mu):
    model = classifier(torch.float32, 0)
    x, y = batch(torch.float32)
    optimizer = PAL(model.parameters(), mu=mu)
    for _ in range(5):
        with torch.autocast("cpu", dtype):
            optimizer.step(lambda: cross_entropy(model(x), y))


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_no_word_at_any_scale_of_the_loss(dtype, scale):
    for mu in MUS:
        model = classifier(dtype, 0)
        x, y = batch(dtype)
        optimizer = PAL(model.parameters(), mu=mu)
        for _ in range(5):
            optimizer.step(lambda: cross_entropy(model(x), y) * scale)


@pytest.mark.parametrize(
    "settings", [{"weight_decay": 0.1}, {"maximize": True}, {"s_max": 1e-3}, {"lr": 0.01}, {"foreach": False}]
)
def test_no_word_in_any_setting(settings):
    for mu in MUS:
        model = classifier(torch.float64, 0, nn.Dropout(0.2))
        x, y = batch(torch.float64)
        optimizer = PAL(model.parameters(), mu=mu, **settings)
        for _ in range(5):
            optimizer.step(lambda: cross_entropy(model(x), y))


def test_no_word_at_a_minimum_or_where_the_loss_is_flat():
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for loss in (
        lambda: weight.square().sum(),
        lambda: weight.square().sum() + 1,
        lambda: (weight * 0).sum() + 3,
        lambda: weight.clamp(max=-1).sum(),
        lambda: weight.abs().sum(),
        lambda: (weight - 1).relu().sum(),
    ):
        optimizer = PAL([weight])
        for _ in range(6):
            optimizer.step(loss)


def test_no_word_where_the_loss_is_no_number():
    weight = torch.ones(3, requires_grad=True)
    for bad in (math.nan, math.inf):
        optimizer = PAL([weight])
        for number in range(6):
            optimizer.step(
                lambda bad=bad, number=number: weight.square().sum() * (bad if number % 2 == 0 else 1)
            )


def test_no_word_on_a_line_with_kinks():
    """A large network of rectifiers with a wide probe."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 5))
    x, y = batch(torch.float32)
    for mu in MUS:
        twin = copy.deepcopy(model)
        optimizer = PAL(twin.parameters(), mu=mu)
        for _ in range(5):
            optimizer.step(lambda twin=twin: cross_entropy(twin(x), y))


def test_no_word_for_accumulated_and_unscaled_gradients():
    model = classifier(torch.float32, 0)
    x, y = batch(torch.float32)
    optimizer, scaler = PAL(model.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for _ in range(5):
        for rows in (slice(0, 16), slice(16, 32)):
            optimizer.backward(
                lambda rows=rows: cross_entropy(model(x[rows]), y[rows]) / 2,
                lambda loss: scaler.scale(loss).backward(),
            )
        scaler.step(optimizer)
        scaler.update()


# -- what it costs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0])
def test_two_forward_passes_a_run(mu):
    model, calls = perceptron(), []

    def loss():
        calls.append(1)
        return (model(X) - Y).square().mean()

    optimizer = PAL(model.parameters(), mu=mu)
    for _ in range(10):
        optimizer.step(loss)
        assert optimizer.line.evaluations == 2
    assert len(calls) == 20 + 2


def test_looking_leaves_no_trace():
    """With and without the check the same steps, bit by bit."""
    ways = []
    for check in (True, False):
        model = perceptron(nn.BatchNorm1d(4), nn.Dropout(0.2))
        optimizer = PAL(model.parameters(), beta=0.4, check=check)
        torch.manual_seed(4)
        losses = [optimizer.step(lambda model=model: (model(X) - Y).square().mean()).item() for _ in range(6)]
        ways.append((losses, [value.clone() for value in model.state_dict().values()]))
    assert ways[0][0] == ways[1][0]
    assert all(torch.equal(a, b) for a, b in zip(ways[0][1], ways[1][1], strict=True))
