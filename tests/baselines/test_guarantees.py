"""What every line search promises about the closure: one function, one batch, nothing left behind by an error.

Each evaluation of a step is held to a copy of the model as it was before the step, at the weights that the evaluation
saw and with the same random numbers; this asks nothing about how a search goes about it.
"""

import copy
import itertools
import random

import pytest
import torch
from torch import nn

from pal import PAL
from pal.baselines import LABPAL, SLS, SPS, AliG, DecSPS, ExactLineSearch, MoMo, PoNoS, QLABGrad
from pal.check import ClosureWarning

PROBING = {
    "pal": PAL,
    "pal with momentum": lambda params: PAL(params, beta=0.4),
    "sls": SLS,
    "sls, long steps": lambda params: SLS(params, init_step_size=100.0),
    "exact": ExactLineSearch,
    "exact with momentum": lambda params: ExactLineSearch(params, beta=0.4),
    "qlabgrad": QLABGrad,
    "labpal": lambda params: LABPAL(params, batches=2, reuse=2),
    "labpal alone": lambda params: LABPAL(params, batches=1, reuse=1, mode="sgd"),
    "ponos": PoNoS,
}
SEARCHES = {**PROBING, "alig": AliG, "sps": SPS, "decsps": DecSPS, "momo": MoMo}

GENERATOR = torch.Generator().manual_seed(1)
X, Y = (torch.randn(16, width, generator=GENERATOR, dtype=torch.float64) for width in (3, 1))


class Stateful(nn.Module):
    """State of every sort: a buffer written through `.data`, one replaced, a number, a list, draws of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(4, dtype=torch.float64))
        self.register_buffer("last", None)
        self.count, self.history = 0, []

    def forward(self, x):
        self.scale.data.lerp_(x.detach().abs().mean(0), 0.1)
        self.last = x.detach().mean(0) if self.last is None else 0.5 * self.last + x.detach().mean(0)
        self.count += 1
        self.history.append(self.count)
        return x / self.scale.clone() - 0.1 * self.last + 0.01 * self.count + 0.1 * random.random()


def network():
    torch.manual_seed(0)
    random.seed(0)
    layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), Stateful(), nn.Tanh(), nn.Linear(4, 1)
    return nn.Sequential(*layers).double()


def squares(model):
    """With a target that the model labels by itself, in eval mode."""
    model.eval()
    with torch.no_grad():
        model[1](model[0](X))
    model.train()
    return (model(X) - Y).square().mean()


def whole_state(model):
    layer = model[3]
    buffers = {name: value.clone() for name, value in model.state_dict().items()}
    return buffers, layer.count, list(layer.history), [each.training for each in model.modules()]


def same_state(ours, theirs):
    return ours[1:] == theirs[1:] and ours[0].keys() == theirs[0].keys() and all(
        torch.equal(value, theirs[0][name]) for name, value in ours[0].items()
    )  # fmt: skip


def at(model, weights):
    """The loss of a copy of the model at other weights."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for param, weight in zip(twin.parameters(), weights, strict=True):
            param.copy_(weight)
        return squares(twin).item(), twin


@pytest.mark.parametrize("name", SEARCHES)
def test_every_evaluation_is_of_the_same_function(name):
    model = network()
    optimizer = SEARCHES[name](model.parameters())
    for _ in range(5):
        before, moment, python = copy.deepcopy(model), torch.get_rng_state(), random.getstate()
        seen = []

        def closure(seen=seen):
            weights = [param.detach().clone() for param in model.parameters()]
            loss = squares(model)
            seen.append((weights, loss.item()))
            return loss

        optimizer.step(closure)
        after = torch.get_rng_state(), random.getstate()
        assert len(seen) >= (2 if name in PROBING and "labpal" not in name else 1)
        for weights, loss in seen:
            torch.set_rng_state(moment)
            random.setstate(python)
            right, twin = at(before, weights)
            assert loss == pytest.approx(right, rel=1e-12)
            assert torch.equal(torch.get_rng_state(), after[0])
            assert random.getstate() == after[1]
            if weights is seen[0][0]:
                once = twin
        with torch.no_grad():
            for param, moved in zip(once.parameters(), model.parameters(), strict=True):
                param.copy_(moved)
        assert same_state(whole_state(model), whole_state(once)), (
            "the batch counts once, by its first evaluation"
        )
        torch.set_rng_state(after[0])
        random.setstate(after[1])


@pytest.mark.parametrize("name", SEARCHES)
def test_torchs_form_of_a_closure_is_taken(name):
    weights = []
    for form in ("loss", "torch's", "a number"):
        model = network()
        optimizer = SEARCHES[name](model.parameters())

        def closure(model=model, optimizer=optimizer, form=form):
            optimizer.zero_grad()
            loss = squares(model)
            if form != "loss":
                loss.backward()
            return loss.item() if form == "a number" else loss

        for _ in range(5):
            optimizer.step(closure)
        weights.append([param.detach() for param in model.parameters()])
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights[2], weights[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("evaluation", [1, 2, 3])
@pytest.mark.parametrize("name", SEARCHES)
def test_an_error_leaves_everything_as_it_was(name, evaluation):
    """And the step repeated is the undisturbed one."""

    def trained():
        model = network()
        optimizer = SEARCHES[name](model.parameters())
        for _ in range(4):
            optimizer.step(lambda: squares(model))
        return model, optimizer

    undisturbed, other = trained()
    calls = itertools.count(1)
    other.step(lambda: squares(undisturbed))
    other.step(lambda: squares(undisturbed))
    model, optimizer = trained()
    before = (
        whole_state(model),
        torch.get_rng_state(),
        random.getstate(),
        copy.deepcopy(optimizer.state_dict()),
    )

    def fails():
        loss = squares(model)
        if next(calls) == evaluation:
            raise MemoryError
        return loss

    try:
        optimizer.step(fails)
    except MemoryError:
        assert same_state(whole_state(model), before[0])
        assert torch.equal(torch.get_rng_state(), before[1])
        assert random.getstate() == before[2]
        assert str(optimizer.state_dict()) == str(before[3])
        optimizer.step(lambda: squares(model))
    optimizer.step(lambda: squares(model))
    assert same_state(whole_state(model), whole_state(undisturbed))


@pytest.mark.parametrize("name", SEARCHES)
def test_what_is_no_closure_gets_its_sentence(name):
    weight, other = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = SEARCHES[name]([weight])
    for closure, error, sentence in (
        (lambda: None, TypeError, "must return the loss"),
        (lambda: weight.square(), TypeError, r"shape \(3,\)"),
        (lambda: weight.detach().sum(), RuntimeError, "has no gradient"),
        (lambda: other.sum(), RuntimeError, "no parameter given to .* has a gradient"),
        (lambda: optimizer.step(lambda: weight.sum()), RuntimeError, "inside its own closure"),
    ):
        for _ in range(2):
            with pytest.raises(error, match=sentence):
                optimizer.step(closure)
            assert weight.tolist() == [1.0, 1.0, 1.0]
    optimizer.step(lambda: weight.square().sum())


@pytest.mark.parametrize("name", PROBING)
def test_a_closure_that_is_not_one_function_is_noticed(name):
    model, batches = network(), itertools.cycle(zip(X.split(4), Y.split(4), strict=True))

    def closure():
        x, y = next(batches)
        return (model(x) - y).square().mean()

    optimizer = PROBING[name](model.parameters())

    def train():
        for _ in range(6):
            optimizer.step(closure)

    with pytest.warns(ClosureWarning, match="not the same function each time"):
        train()


@pytest.mark.parametrize("name", SEARCHES)
def test_copies_and_checkpoints_go_on_bit_by_bit(name):
    model = network()
    optimizer = SEARCHES[name](model.parameters())
    for _ in range(3):
        optimizer.step(lambda: squares(model))
    twin, again = copy.deepcopy((model, optimizer))
    third = copy.deepcopy(model)
    resumed = SEARCHES[name](third.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    moment, python = torch.get_rng_state(), random.getstate()
    ways = []
    for each, search in ((model, optimizer), (twin, again), (third, resumed)):
        torch.set_rng_state(moment)
        random.setstate(python)
        ways.append([search.step(lambda each=each: squares(each)).item() for _ in range(3)])
    assert ways[0] == ways[1] == ways[2]
