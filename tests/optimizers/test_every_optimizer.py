"""What people need of any optimizer: each property with each optimizer by its name, where it applies."""

import io
import math
from collections.abc import Iterable

import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments import optimizers
from experiments.optimizers import OPTIMIZERS

SETTINGS = {
    "sgd": {"lr": 0.05},
    "rmsprop-tf": {"lr": 0.01},
    "sls": {"n_batches_per_epoch": 10},
    "alig": {"max_lr": 0.1, "momentum": 0.9},
    "sgdhd": {"lr": 0.05, "momentum": 0.5, "hypergrad_lr": 1e-3},
    "lbfgs": {"lr": 0.1, "max_iter": 4, "history_size": 10},
    "labpal": {"reuse": 5, "batches": 2, "mode": "sgd"},
    "schedulefree-sgd": {"lr": 0.5},
    "prodigy": {"d_coef": 10.0},
}
"""Changes to the defaults for a training of a few steps."""

NAMES = list(OPTIMIZERS)
FORWARD = [name for name in NAMES if OPTIMIZERS[name].closure == "forward"]
GROUPED = [name for name in NAMES if name != "lbfgs"]  # torch's LBFGS takes one group
ABLATED = ["pal-counted-twice", "pal-new-masks", "pal-safeguard"]
ONE_LOOK = ["alig", "sps", "decsps", "momo"]
"""Step sizes from the loss and the gradient at the weights alone."""
SEARCHES = ["pal", *ABLATED, "sls", "exact", "labpal", "qlabgrad", "ponos", *ONE_LOOK]


def network(dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(144, 3)
    ).double()


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of an easy problem: the class is where the input is bright."""
    generator = torch.Generator().manual_seed(step)
    y = torch.randint(3, (32,), generator=generator)
    x = torch.randn(32, 2, 8, 8, generator=generator, dtype=torch.float64)
    x[torch.arange(32), 0, 2 * y] += 2
    return x, y


def build(name: str, params) -> optimizers.ScheduledOptimizer:
    return optimizers.build(name, params, SETTINGS.get(name, {}))


def fit(model: nn.Module, method: optimizers.ScheduledOptimizer, steps: Iterable[int]) -> list[float]:
    """Losses of a few steps; the random numbers depend on the steps alone."""
    losses = []
    for step in steps:
        x, y = batch(step)
        torch.manual_seed(step)
        losses.append(method.step(lambda x=x, y=y: functional.cross_entropy(model(x), y)).item())
    assert all(param.isfinite().all() for param in model.parameters())
    return losses


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def same(model: nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_trains(name):
    model = network()
    losses = fit(model, build(name, model.parameters()), [0] * 40)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", [name for name in GROUPED if name != "sgdhd"])
def test_several_groups_go_the_way_of_one(name):
    whole, parts = network(), network()
    cut = [{"params": [*layer.parameters()]} for layer in parts if [*layer.parameters()]]
    alone, together = (
        fit(whole, build(name, whole.parameters()), range(6)),
        fit(parts, build(name, cut), range(6)),
    )
    assert together == pytest.approx(alone, rel=1e-9)


def test_every_group_of_sgdhd_has_a_learning_rate_of_its_own():
    model = network()
    method = build("sgdhd", [{"params": model[0].parameters()}, {"params": model[5].parameters()}])
    fit(model, method, range(6))
    first, second = (group["lr"] for group in method.optimizer.param_groups)
    assert first != second


@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_gradient_stay(name):
    model, unused = network(), nn.Linear(3, 3).double()
    model[0].weight.requires_grad_(False)
    before, frozen = weights(unused), model[0].weight.clone()
    fit(model, build(name, [*unused.parameters(), *model.parameters()]), range(6))
    assert same(unused, before)
    assert torch.equal(model[0].weight, frozen)


@pytest.mark.parametrize("name", NAMES)
def test_resumes_bit_by_bit_from_a_file(name):
    model = network()
    method = build(name, model.parameters())
    fit(model, method, range(7))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "method": method.state_dict()}, file)
    ahead = fit(model, method, range(7, 14))
    file.seek(0)
    state = torch.load(file, weights_only=True)
    twin = network()
    again = build(name, twin.parameters())
    twin.load_state_dict(state["model"])
    again.load_state_dict(state["method"])
    assert fit(twin, again, range(7, 14)) == ahead
    assert same(twin, weights(model))


@pytest.mark.parametrize("name", NAMES)
def test_keeps_channels_last_and_goes_the_same_way(name):
    plain, last = network(dropout=0), network(dropout=0).to(memory_format=torch.channels_last)
    expected = fit(plain, build(name, plain.parameters()), range(6))
    assert fit(last, build(name, last.parameters()), range(6)) == pytest.approx(expected, rel=1e-6)
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", FORWARD)
def test_a_step_draws_as_many_random_numbers_as_one_forward_pass(name):
    model = network()
    method = build(name, model.parameters())
    fit(model, method, range(1))
    x, y = batch(1)
    torch.manual_seed(5)
    model(x)
    expected = torch.rand(3)
    torch.manual_seed(5)
    method.step(lambda: functional.cross_entropy(model(x), y))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_bad_batch_leaves_the_weights_bit_by_bit_and_training_goes_on(name):
    model = network()
    method = build(name, model.parameters())
    fit(model, method, range(4))
    before, (x, _) = weights(model), batch(4)
    method.step(lambda: model(x * math.nan).sum())
    assert same(model, before)
    assert method.line.case == 3
    model[1].reset_running_stats()
    losses = fit(model, method, [0] * 40)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_record_of_a_line_search_says_how_far_the_weights_went(name):
    model = network()
    method = build(name, model.parameters())
    fit(model, method, range(8))
    before = weights(model)
    fit(model, method, range(8, 9))
    gone = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(weights(model), before, strict=True)))
    line = method.line
    if name != "alig":  # momentum takes it elsewhere
        assert line.step.item() == pytest.approx(gone, rel=1e-6)
    assert method.learning_rate.item() == pytest.approx((line.step / line.norm).item())
    if name not in ("labpal", "momo"):  # whose directions are not this batch's gradient alone
        assert line.slope.item() == pytest.approx(-line.norm.item())


@pytest.mark.parametrize("name", ["sls", "exact", "pal-safeguard"])
def test_a_search_never_raises_the_batch_loss(name):
    model = network()
    method = build(name, model.parameters())
    for step in range(10):
        x, y = batch(step)

        def loss(x=x, y=y, step=step):
            torch.manual_seed(step)
            return functional.cross_entropy(model(x), y)

        start = method.step(loss)
        assert loss() <= start


@pytest.mark.parametrize("name", FORWARD)
def test_a_closure_without_gradient_is_one_sentence(name):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradient"):
        build(name, [weight]).step(lambda: torch.tensor(1.0))
    with pytest.raises(TypeError, match="one element"):
        build(name, [weight]).step(lambda: weight * 2)


@pytest.mark.parametrize("name", [*SEARCHES, "sgdhd", "cocob", "rmsprop-tf"])
def test_sparse_gradients_are_one_sentence(name):
    table = nn.Embedding(5, 3, sparse=True)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        build(name, table.parameters()).step(lambda: table(torch.tensor([1, 2])).square().sum())
