"""Captured steps are eager steps, whatever the optimizer: in an emulated graph on the CPU, and on CUDA."""

import copy
import dataclasses
import importlib
import os

import pytest
import torch
from emulated import EmulatedGraph, EmulatedGraphs, tensors_in
from small_runs import Interrupted, Memory, same_arrays, short
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from experiments import optimizers
from experiments.optimizers.registry import OPTIMIZERS
from experiments.problems import Problem
from experiments.problems.registry import PROBLEMS
from experiments.training import trainer
from experiments.training.batch_line import batch_line
from experiments.training.cuda_graphs import WARM_UP, CudaGraphs, Different, compare, first_cause
from experiments.training.loop import train
from pal import kernels, line
from pal.check import ATTEMPTS

CAPTURED = [name for name, entry in OPTIMIZERS.items() if entry.captured is not None]
EAGER = [name for name in OPTIMIZERS if name not in CAPTURED]
SETTINGS = {"pal": {"beta": 0.4, "alpha": 1.2}, "sgd": {"lr": 0.05}}


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as the launcher does


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU)])
def device(request, monkeypatch):
    """The CPU with PAL and torch's optimizers on the path of accelerators, or CUDA."""
    if request.param == "cpu":
        monkeypatch.setattr(line, "on_host", lambda _: False)
        monkeypatch.setattr(optimizers.scheduled, "on_accelerator", lambda _: True)
        for name in ("torch.optim.adam", "torch.optim.rmsprop"):
            module = importlib.import_module(name)
            monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    return request.param


class CountedGraph(torch.cuda.CUDAGraph):
    """Knows how often it was replayed."""

    replays = 0

    def replay(self):
        self.replays += 1
        super().replay()


class CountedGraphs(CudaGraphs):
    """Keeps what it has made."""

    def __init__(self):
        super().__init__()
        self.graphs = []

    def graph(self):
        self.graphs.append(CountedGraph())
        return self.graphs[-1]


@pytest.fixture
def graphs(device):
    """How the device captures; knows its graphs."""
    return EmulatedGraphs() if device == "cpu" else CountedGraphs()


@pytest.fixture
def run(monkeypatch):
    """A training with captured steps, or with eager ones; gives its record."""

    def trained(config, graphs=None, record=None, on_step=None):
        record = record or Memory()
        monkeypatch.setattr(trainer, "graphs_of", lambda _: graphs)
        train(config, record, on_step)
        return record

    return trained


def test_an_emulated_graph_behaves_as_one():
    graphs, x = EmulatedGraphs(), torch.ones(3)
    graph = graphs.graph()
    torch.manual_seed(1)
    with graphs.capturing(graph):
        y = x * 2.0
        x += 1
        masks = [functional.dropout(x), functional.dropout(x)]
    assert torch.equal(x, torch.ones(3))  # nothing is done
    assert y.isnan().all()
    for number in (1.0, 2.0):
        torch.manual_seed(3)
        graph.replay()
        assert y.tolist() == [2 * number] * 3  # of what is there now
        assert x.tolist() == [number + 1] * 3
        torch.manual_seed(3)
        assert all(torch.equal(mask, functional.dropout(x)) for mask in masks)
    with pytest.raises(RuntimeError, match="capturing"), graphs.capturing(graphs.graph()):
        x.sum().item()


def replays(graphs):
    return [graph.replays for graph in graphs.graphs]


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_training_has_the_bits_of_an_eager_one(name, device, graphs, run, capsys):
    config = short(device=device, optimizer=name, settings=SETTINGS.get(name, {}))
    record = run(config, graphs)
    assert replays(graphs) == [config.steps - WARM_UP]
    assert capsys.readouterr().out == ""
    assert same_arrays(record.arrays, run(config).arrays)


def test_another_learning_rate_asks_for_another_graph(device, graphs, run):
    config = short(device=device, optimizer="sgd", schedule="step", settings={"lr": 0.1})
    record = run(config, graphs)
    assert replays(graphs) == [12 - WARM_UP, 6 - WARM_UP, 6 - WARM_UP]
    assert same_arrays(record.arrays, run(config).arrays)


@pytest.mark.parametrize(("name", "dtype"), [("pal", "bfloat16"), ("adam", "float32")])
def test_a_run_in_five_pieces_has_the_bits_of_the_uncut_one(name, dtype, device, graphs, run):
    config = short(device=device, optimizer=name, dtype=dtype)
    cuts, checkpoint = [2, 9, 13, 18], None
    for cut in cuts:
        record = Memory(checkpoint, checkpoint_seconds=0.0)
        with pytest.raises(Interrupted):
            run(config, graphs, record, until(cut))
        checkpoint = record.checkpoint
        torch.manual_seed(99)  # another process starts from other random numbers
    record = run(config, graphs, Memory(checkpoint))
    pieces = [9 - 2, 13 - 9, 18 - 13, 24 - 18]  # the first is too short for a graph
    assert replays(graphs) == [length - WARM_UP for length in pieces]
    assert same_arrays(record.arrays, run(config).arrays)


def until(last):
    def look(step, _):
        if step == last:
            raise Interrupted

    return look


def test_a_state_that_is_loaded_in_the_middle_is_captured_anew(device, graphs, monkeypatch):
    monkeypatch.setattr(trainer, "graphs_of", lambda _: graphs)
    one = trainer.Trainer(short(device=device, settings={"beta": 0.4}))
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
def test_looks_between_replays_see_what_they_would_see_and_change_nothing(name, device, graphs, run):
    def looking(seen):
        def look(step, trainer):
            if step % 4 == 1:
                with batch_line(trainer) as line:
                    seen.append((line.loss0, line.slope, *line.losses([0.01, 0.1]), line.angle(0.05)))

        return look

    config, expected, seen = short(device=device, optimizer=name), [], []
    record = run(config, graphs, on_step=looking(seen))
    assert replays(graphs) == [config.steps - WARM_UP]
    assert same_arrays(record.arrays, run(config, on_step=looking(expected)).arrays)
    assert seen == expected
    assert same_arrays(record.arrays, run(config).arrays)


@pytest.mark.parametrize("name", EAGER)
def test_optimizers_that_need_the_host_stay_eager_and_say_so(name, device, graphs, run, capsys):
    run(short(device=device, optimizer=name, steps=5), graphs)
    assert graphs.graphs == []
    assert "decides on the host" in capsys.readouterr().out


def test_a_learning_rate_that_never_stays_is_a_reason_too(device, graphs, run, capsys):
    run(short(device=device, optimizer="sgd", schedule="cosine"), graphs)
    assert graphs.graphs == []
    assert capsys.readouterr().out.count("the learning rate is another one in every step") == 1


@pytest.mark.parametrize("name", ["alig", "exact", "pal-safeguard"])
def test_a_capture_that_fails_leaves_no_trace_but_its_reason(name, device, graphs, run, monkeypatch, capsys):
    config = short(device=device, optimizer=name)
    expected = run(config)
    monkeypatch.setitem(OPTIMIZERS, name, dataclasses.replace(OPTIMIZERS[name], captured=()))
    record = run(config, graphs)
    assert replays(graphs) == [0]
    assert same_arrays(record.arrays, expected.arrays)
    (words,) = capsys.readouterr().out.splitlines()
    assert words.startswith("steps are not captured in a graph: ")


def test_the_reason_is_what_failed_first():
    def fails():
        try:
            try:
                raise ValueError("a number was read\nand more")
            finally:
                raise RuntimeError("putting the weights back")
        finally:
            raise RuntimeError("ending the capture")

    with pytest.raises(RuntimeError, match="ending") as caught:
        fails()
    assert first_cause(caught.value) == "a number was read"


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


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.parametrize("kind", [Absent, Repeating, Elsewhere])
@pytest.mark.parametrize(("name", "deterministic"), [("pal", True), ("adam", False)])
def test_a_graph_that_does_something_else_is_noticed(name, deterministic, kind, device, run, capsys):
    config = short(device=device, optimizer=name, deterministic=deterministic)
    graphs = EmulatedGraphs(kind)
    record = run(config, graphs)
    assert len(graphs.graphs) == 1
    assert capsys.readouterr().out.count("of a replayed step are") == 1
    assert same_arrays(record.arrays, run(config).arrays)


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


@pytest.mark.filterwarnings(
    "ignore:Accessing the data pointer of FakeTensor"
)  # there are no weights to find again
@pytest.mark.parametrize("name", CAPTURED)
def test_no_number_is_read_or_brought_to_the_device(name, monkeypatch):
    """On a CUDA device that is only thought of: shapes without values, which nobody can read."""
    monkeypatch.setattr(kernels, "_fused", lambda *_: bool)  # torch cannot think of this one
    with FakeTensorMode(), torch.device("cuda"):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        x, y = torch.randn(16, 4), torch.zeros(16, dtype=torch.long)
        optimizer = optimizers.build(name, model.parameters(), SETTINGS.get(name, {})).optimizer

        def backward(*_):  # torch's would ask for a driver
            for param in model.parameters():
                param.grad = torch.randn_like(param)

        def step():
            if name.startswith("pal"):
                optimizer._runtime.attempts = ATTEMPTS  # the first steps read, to check the closure
                optimizer.backward(lambda: functional.cross_entropy(model(x), y), backward)
            else:
                backward()
            optimizer.step()
            return getattr(optimizer, "line", None)

        step()  # makes its state
        with Apart():
            line = step()
            assert line is None or line.learning_rate.device.type == "cuda"


@pytest.fixture
def resnet(monkeypatch):
    """The name of a problem with convolutions as they are trained, on small pictures."""
    problem = Problem("digits-resnet8", "digits", "resnet8", "a test", 600)
    monkeypatch.setitem(PROBLEMS, problem.name, problem)
    return problem.name


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)], indirect=True)
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["pal", "sgd"])
def test_a_residual_network_is_captured(name, dtype, deterministic, device, graphs, run, resnet):
    fields = {"problem": resnet, "optimizer": name, "dtype": dtype, "deterministic": deterministic}
    config = short(device=device, **fields)
    record, expected = run(config, graphs), run(config)
    assert replays(graphs) == [config.steps - WARM_UP]
    if deterministic:
        assert same_arrays(record.arrays, expected.arrays)
    else:
        first = slice(WARM_UP + 2)  # later, rounding has grown
        losses = [one.arrays["train_loss"][first] for one in (record, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)], indirect=True)
@pytest.mark.parametrize("name", ["pal", "sgd", "adam"])
def test_nothing_waits_for_the_device(name, device, graphs, resnet, monkeypatch):
    monkeypatch.setattr(trainer, "graphs_of", lambda _: graphs)
    one = trainer.Trainer(short(device=device, problem=resnet, optimizer=name, train_size=None))
    steps(one, WARM_UP + 2)
    try:
        torch.cuda.set_sync_debug_mode("error")
        steps(one, 3)  # within the first epoch: the order of the next is made on the host
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert replays(graphs) == [5]
