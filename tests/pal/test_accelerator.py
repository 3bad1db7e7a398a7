"""The path of accelerators, where nothing may be read, taken on the CPU: the same steps, no number read."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.torch_version import TorchVersion

from pal import PAL, line, randomness
from pal.parabola import Case

SETTINGS = [
    {},
    {"beta": 0.4},
    {"weight_decay": 0.01},
    {"beta": 0.4, "weight_decay": 0.01},
    {"weight_decay": 0.01, "decoupled_weight_decay": True},
    {"maximize": True, "weight_decay": 0.01, "s_max": 0.05},
    {"foreach": False, "beta": 0.4},
    {"lr": torch.tensor(0.5, dtype=torch.float64)},
]


@pytest.fixture
def accelerated(monkeypatch):
    """Make new directions believe that their parameters are not on the CPU."""
    return lambda: monkeypatch.setattr(line, "on_host", lambda tensor: False)


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)).to(
        dtype
    )


def loss_of(model):
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 4, generator=generator), torch.randint(3, (16,), generator=generator)
    dtype = next(model.parameters()).dtype
    return lambda: functional.cross_entropy(model(x.to(dtype)), y)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
def test_takes_the_steps_of_the_cpu(settings, dtype, rel, accelerated):
    theirs = network(dtype)
    two = PAL(theirs.parameters(), **settings)
    torch.manual_seed(3)
    expected = [two.step(loss_of(theirs)).item() for _ in range(5)]
    accelerated()
    ours = network(dtype)
    one = PAL(ours.parameters(), **settings)
    torch.manual_seed(3)
    assert [one.step(loss_of(ours)).item() for _ in range(5)] == pytest.approx(expected, rel=rel)
    assert one.cases == two.cases
    for field in ("loss0", "loss_mu", "slope", "step", "norm", "case", "clipped"):
        seen, wanted = getattr(one.line, field), getattr(two.line, field)
        torch.testing.assert_close(seen.double(), wanted.double(), rtol=10 * rel, atol=10 * rel)


@pytest.mark.parametrize("settings", SETTINGS)
def test_nothing_is_read_during_a_step(settings, accelerated, monkeypatch):
    accelerated()
    model = network(torch.float32)
    optimizer, loss = PAL(model.parameters(), **settings), loss_of(model)
    for _ in range(2):  # which look at the closure
        optimizer.step(loss)

    def read(*_):
        raise AssertionError("a tensor was read")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, read)
    optimizer.step(loss)
    optimizer.step(loss)
    monkeypatch.undo()
    assert sum(optimizer.cases.values()) == 4


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_leaves_every_bit(beta, where, accelerated):
    accelerated()
    weights = torch.tensor([1.0, -0.0, 3e-39, -2.5], requires_grad=True)
    optimizer = PAL([weights], beta=beta)
    optimizer.step(lambda: weights.square().sum())
    before = weights.detach().clone().view(torch.int32)
    bad = {"loss": lambda: weights.square().sum() * torch.nan, "gradient": lambda: (weights * 0).sqrt().sum()}
    optimizer.step(bad[where])
    assert optimizer.line.case == Case.NONFINITE
    assert torch.equal(weights.detach().view(torch.int32), before)
    optimizer.step(lambda: (weights - 1).square().sum())
    assert optimizer.line.case == Case.PARABOLA


def test_checkpoints_change_devices(accelerated):
    ours = network()
    one = PAL(ours.parameters(), beta=0.4)
    one.step(loss_of(ours))
    state = copy.deepcopy(one.state_dict())
    accelerated()
    theirs = copy.deepcopy(ours)
    two = PAL(theirs.parameters())
    two.load_state_dict(state)
    torch.manual_seed(5)
    loss = two.step(loss_of(theirs)).item()
    torch.manual_seed(5)
    assert loss == pytest.approx(one.step(loss_of(ours)).item())
    assert sum(two.cases.values()) == 2


class Philox:
    """A generator that is its offset."""

    def __init__(self, offset):
        self.offset = offset

    def get_state(self):
        return self.offset

    def set_state(self, offset):
        self.offset = offset

    def clone_state(self):
        return Philox(self.offset)


class Drawing:
    """A graph that draws four numbers from each of its generators; notes where they were."""

    def __init__(self):
        self.generators, self.seen = [], []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def replay(self):
        self.seen.append([generator.offset for generator in self.generators])
        for generator in self.generators:
            generator.offset += 4


def test_replays_draw_what_eager_steps_would_draw(monkeypatch):
    generator, graph = Philox(100), Drawing()
    monkeypatch.setattr(randomness, "cuda_generators", lambda: (generator,))
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.13.0"))  # later, graphs are told nothing
    generators = randomness.PairedGenerators(graph)
    generators.replay(graph)
    assert generator.offset == 104
    generator.offset = 500  # something else was drawn, or a state loaded
    generators.replay(graph)
    assert generator.offset == 504
    assert graph.seen == [[100, 100], [500, 500]]
