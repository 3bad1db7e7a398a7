"""State in attributes survives a checkpoint, whatever holds it."""

import io
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from test_variants import batch, network
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.optimizers.attributes import restore, saved, unsaved
from experiments.optimizers.hooks import PALVariant
from experiments.optimizers.registry import OptimizerSpec
from experiments.optimizers.scheduled import ScheduledOptimizer


class Mean:
    """A running mean, which knows nothing of checkpoints."""

    def __init__(self):
        self.value, self.history = 0.0, [0]

    def add(self, number):
        self.value = 0.9 * self.value + float(number)
        self.history.append(self.value)
        return self.value


class Everything(torch.optim.Optimizer):
    """Momentum of which each part is kept in another way."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.means, self.counts, self.last = {}, defaultdict(int), deque(maxlen=3)
        self.steps, self.total, self.norms = 0, torch.zeros(()), np.zeros(2)
        self.generator, self.numbers = torch.Generator().manual_seed(3), np.random.default_rng(3)
        self.mean, self.names, self.frozen = Mean(), OrderedDict(a=1), set()
        self.inner = torch.nn.Linear(1, 1)
        self.log = print

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        factor = 1 + 0.1 * torch.rand((), generator=self.generator) + 0.1 * self.numbers.random()
        for group in self.param_groups:
            for place, p in enumerate(group["params"]):
                m = self.means.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad)
                self.counts[place] += 1
                self.last.append(float(m.norm()))
                self.total += self.last[0]
                self.norms[0] += self.mean.add(self.total)
                self.inner.weight.mul_(1.01)
                scale = (
                    1 + 1e-3 * (self.norms[0] + self.counts[place] + self.steps) + self.inner.weight.item()
                )
                p.add_(m, alpha=-group["lr"] * float(factor) * scale)


class Smoothed(PALVariant):
    """The measuring distance follows a mean of the steps, which is kept in an attribute."""

    mean = None

    def measuring_distance(self):
        if self.line is not None:
            step = float(self.line.step)
            self.mean = step if self.mean is None else 0.9 * self.mean + 0.1 * step
        return self.mean or 0.1


KINDS = {
    "everything": OptimizerSpec(Everything, "none", {"lr": 0.01}),
    "variant": OptimizerSpec(Smoothed, "forward", {}),
}


def made(spec):
    torch.manual_seed(0)
    model = network(norm=False)
    settings = spec.settings
    return model, ScheduledOptimizer(spec, spec.target(model.parameters(), **settings), None)


def train(model, method, steps):
    for step in steps:
        x, y = batch(step)
        method.step(lambda x=x, y=y: functional.cross_entropy(model(x), y))
    return [param.detach().clone() for param in model.parameters()]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_resumed_training_is_the_same_as_one_without_a_stop(name):
    expected = train(*made(KINDS[name]), range(12))
    model, method = made(KINDS[name])
    train(model, method, range(6))
    state = through_a_file({"model": model.state_dict(), "optimizer": method.state_dict()})
    again, resumed = made(KINDS[name])
    again.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    for one, other in zip(expected, train(again, resumed, range(6, 12)), strict=True):
        assert torch.equal(one, other)


def test_what_cannot_be_saved_is_named():
    _, method = made(KINDS["everything"])
    assert unsaved(method.optimizer) == ["log"]


def test_an_object_that_a_new_optimizer_lacks_is_refused_with_a_sentence():
    _, method = made(KINDS["everything"])
    method.optimizer.late = Mean()
    state = through_a_file(saved(method.optimizer))
    _, fresh = made(KINDS["everything"])
    with pytest.raises(
        UserError, match="'late' of the optimizer Everything cannot be restored .* make it in __init__"
    ):
        restore(fresh.optimizer, state)
