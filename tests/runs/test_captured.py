"""Captured steps are eager steps: every optimizer that can be captured, with an emulated graph on the CPU."""

import copy
import dataclasses
import importlib

import pytest
import torch
from emulated import EmulatedGraph, EmulatedGraphs, tensors_in
from small_runs import Interrupted, Memory, same_arrays, short
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from experiments import optimizers, trainer
from experiments.batchline import batch_line
from experiments.captured import WARM_UP, Different, compare
from experiments.optimizers.catalogue import OPTIMIZERS
from experiments.training import train
from pal import kernels
from pal.line import Origin

CAPTURED = [name for name, entry in OPTIMIZERS.items() if entry.captured is not None]
EAGER = [name for name in OPTIMIZERS if name not in CAPTURED]


@pytest.fixture(autouse=True)
def accelerated(monkeypatch):
    """Take the path of accelerators: PAL reads nothing, torch's optimizers are those that can be captured."""
    original = Origin.__init__

    def elsewhere(self, *args):
        original(self, *args)
        self.on_host = False

    monkeypatch.setattr(Origin, "__init__", elsewhere)
    monkeypatch.setattr(optimizers, "on_accelerator", lambda _: True)
    for name in ("torch.optim.adam", "torch.optim.rmsprop"):
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda **_: ["cpu", "cuda"])


@pytest.fixture
def run(monkeypatch):
    """A training with captured steps, or with eager ones; gives result, record and what it captured."""

    def trained(config, graphs=None, record=None, on_step=None):
        record = record or Memory()
        monkeypatch.setattr(trainer, "graphs_of", lambda _: graphs)
        return train(config, record, on_step), record

    return trained


SETTINGS = {"pal": {"beta": 0.4, "alpha": 1.2}, "sgd": {"lr": 0.05}}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_training_has_the_bits_of_an_eager_one(name, run, capsys):
    config, graphs = short(optimizer=name, settings=SETTINGS.get(name, {})), EmulatedGraphs()
    wanted_result, wanted = run(config)
    result, record = run(config, graphs)
    assert graphs.replays == config.steps - WARM_UP
    assert result == wanted_result
    assert same_arrays(record.arrays, wanted.arrays)
    assert capsys.readouterr().out == ""


def test_another_learning_rate_asks_for_another_graph(run):
    config, graphs = short(optimizer="sgd", schedule="step", settings={"lr": 0.1}), EmulatedGraphs()
    wanted, record = run(config)[1], run(config, graphs)[1]
    assert [graph.replays for graph in graphs.graphs] == [12 - WARM_UP, 6 - WARM_UP, 6 - WARM_UP]
    assert same_arrays(record.arrays, wanted.arrays)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["pal", "adam"])
def test_a_run_that_continues_from_a_checkpoint_captures_anew_and_has_the_same_bits(name, dtype, run):
    config, graphs = short(optimizer=name, dtype=dtype), EmulatedGraphs()
    wanted = run(config)[1]

    def interrupt(step, _):
        if step == 13:
            raise Interrupted

    first = Memory(checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        run(config, graphs, first, interrupt)
    torch.manual_seed(99)
    second = run(config, graphs, Memory(first.checkpoint))[1]
    assert [graph.replays for graph in graphs.graphs] == [13 - WARM_UP, 11 - WARM_UP]
    assert same_arrays(second.arrays, wanted.arrays)


def test_a_state_that_is_loaded_in_the_middle_is_captured_anew(run, monkeypatch):
    graphs = EmulatedGraphs()
    monkeypatch.setattr(trainer, "graphs_of", lambda _: graphs)
    one = trainer.Trainer(short(settings={"beta": 0.4}))
    steps(one, 8)
    state = copy.deepcopy(one.state())
    steps(one, 12)
    ahead = one.trace["train_loss"].clone()
    one.load_state(state)
    steps(one, 12)
    assert torch.equal(one.trace["train_loss"][:20], ahead[:20])
    assert len(graphs.graphs) == 2


def steps(one, count):
    for _ in range(count):
        one.draw()
        one.advance()


@pytest.mark.parametrize("name", ["pal", "sgd"])
def test_looks_between_replays_see_what_they_would_see_and_change_nothing(name, run):
    def looking(seen):
        def look(step, trainer):
            if step % 4 == 1:
                with batch_line(trainer) as line:
                    seen.append((line.loss0, line.slope, *line.losses([0.01, 0.1]), line.angle(0.05)))

        return look

    config, graphs, wanted_looks, looks = short(optimizer=name), EmulatedGraphs(), [], []
    wanted = run(config, on_step=looking(wanted_looks))[1]
    record = run(config, graphs, on_step=looking(looks))[1]
    assert graphs.replays == config.steps - WARM_UP
    assert looks == wanted_looks
    assert same_arrays(record.arrays, wanted.arrays)
    assert same_arrays(record.arrays, run(config)[1].arrays)


@pytest.mark.parametrize("name", EAGER)
def test_optimizers_that_need_the_host_stay_eager_and_say_so(name, run, capsys):
    graphs = EmulatedGraphs()
    run(short(optimizer=name, steps=5), graphs)
    assert graphs.graphs == []
    assert "decides on the host" in capsys.readouterr().out


def test_a_learning_rate_that_never_stays_is_a_reason_too(run, capsys):
    graphs = EmulatedGraphs()
    run(short(optimizer="sgd", schedule="cosine"), graphs)
    assert graphs.graphs == []
    assert capsys.readouterr().out.count("the learning rate is another one in every step") == 1


@pytest.mark.parametrize("name", ["alig", "exact", "pal-safeguard"])
def test_a_capture_that_fails_leaves_no_trace_but_its_reason(name, run, monkeypatch, capsys):
    config, graphs = short(optimizer=name), EmulatedGraphs()
    wanted = run(config)[1]
    monkeypatch.setitem(OPTIMIZERS, name, dataclasses.replace(OPTIMIZERS[name], captured=()))
    record = run(config, graphs)[1]
    assert graphs.replays == 0
    assert same_arrays(record.arrays, wanted.arrays)
    (words,) = capsys.readouterr().out.splitlines()
    assert words.startswith("steps are not captured in a graph: operation not permitted")


class Absent(EmulatedGraph):
    """Does nothing."""

    def replay(self):
        pass


class Repeating(EmulatedGraph):
    """Does everything twice."""

    def replay(self):
        super().replay()
        super().replay()


class Elsewhere(EmulatedGraph):
    """Draws other random numbers."""

    def replay(self):
        torch.rand(5)
        super().replay()


@pytest.mark.parametrize("kind", [Absent, Repeating, Elsewhere])
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("name", ["pal", "adam"])
def test_a_graph_that_does_something_else_is_noticed(name, deterministic, kind, run, capsys):
    config, graphs = short(optimizer=name, deterministic=deterministic), EmulatedGraphs(kind)
    wanted, record = run(config)[1], run(config, graphs)[1]
    assert len(graphs.graphs) == 1
    assert same_arrays(record.arrays, wanted.arrays)
    assert capsys.readouterr().out.count("of a replayed step are") == 1


def test_what_counts_as_the_same_step():
    start, eager = {"weights": [torch.zeros(3), torch.zeros(2)]}, {"weights": [torch.ones(3), torch.zeros(2)]}

    def moved(by):
        return {"weights": [torch.ones(3), torch.full((2,), by)]}

    compare(start, eager, moved(0.0), tolerance=0.0)
    compare(start, eager, moved(0.1), tolerance=0.1)
    compare(start, start, start, tolerance=0.1)
    for by, tolerance in ((1e-6, 0.0), (0.2, 0.1), (torch.nan, 0.1), (torch.inf, 0.1)):
        with pytest.raises(Different, match="weights of a replayed step"):
            compare(start, eager, moved(by), tolerance)


class Apart(TorchDispatchMode):
    """Refuses operations on tensors of several devices: each would be a copy that waits for the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        devices = {tensor.device.type for tensor in tensors_in(args, kwargs, result)}
        assert len(devices) <= 1, f"{function} between {devices}"
        return result


@pytest.mark.parametrize("name", CAPTURED)
def test_no_number_is_read_or_brought_to_the_device(name, monkeypatch):
    """On a CUDA device that is only thought of: shapes without values, which nobody can read."""
    monkeypatch.setattr(kernels, "descend_", lambda *_: None)  # torch cannot think of this one
    with FakeTensorMode(), torch.device("cuda"):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        x, y = torch.randn(16, 4), torch.zeros(16, dtype=torch.long)
        optimizer = optimizers.build(name, model.parameters(), SETTINGS.get(name, {})).optimizer

        def backward(*_):  # torch's would ask for a driver
            for param in model.parameters():
                param.grad = torch.randn_like(param)

        def step():
            if name.startswith("pal"):
                optimizer._trusted = True  # the first step reads, to check the closure
                optimizer.backward(lambda: functional.cross_entropy(model(x), y), backward)
            else:
                backward()
            optimizer.step()
            return getattr(optimizer, "line", None)

        step()  # makes its state
        with Apart():
            line = step()
            assert line is None or line.learning_rate.device.type == "cuda"
