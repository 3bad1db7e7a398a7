"""The cost of an optimizer step relative to a floor, measured interleaved in one process.

The floor is a step of SGD with momentum plus one forward pass without gradients: the least that a search with one more
point can cost. PAL's second pass keeps the gradient mode of the first, on which a loss may depend, and so records a
graph that nothing uses: the row "SGD + graph" shows what this costs. Each round takes one step of every optimizer, so
that a busy machine slows all alike; the table gives the median over rounds of the ratio of times within a round. Every
round draws new labels, so that line searches do not converge. Passes are counted per step; memory is what an optimizer
holds between steps and during evaluations of the loss, besides weights and gradients, in units of the size of the
weights.

    python -m benchmarks.step_cost [--problems mlp mlp784 resnet32 mobilenetv2] [--seconds 60] [--device cuda]
        [--rows PAL "PAL, both"]

All rows on a convolutional network take a CPU over a quarter of an hour; `--rows` names those of interest.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.timing import seconds_of
from benchmarks.watching import Watched, held
from experiments import models, optimizers
from experiments.optimizers.registry import BEYOND, PAPER
from pal import PAL

Step = Callable[[], object]
Maker = Callable[[nn.Module, Callable[[], Tensor]], Step]
BATCH = 128


class Problem(NamedTuple):
    """A network, its input shape, and the number of threads."""

    network: str
    shape: tuple[int, ...]
    threads: int


class Row(NamedTuple):
    """An optimizer to measure: its step, the loss it sees, and a function that draws new labels."""

    step: Step
    loss: Watched
    refresh: Step
    copies: float


PROBLEMS = {
    "mlp": Problem("mlp-128-128", (64,), threads=1),
    "mlp784": Problem("mlp-128-128", (784,), threads=1),
    "resnet32": Problem("resnet32", (3, 32, 32), threads=2),
    "mobilenetv2": Problem("mobilenetv2", (3, 32, 32), threads=2),
}


def sgd_step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def floor_step(model: nn.Module, loss: Callable[[], Tensor], graph: bool = False) -> Step:
    """SGD with momentum and one forward pass, without gradients unless it is to record a graph."""
    train = sgd_step(model, loss)

    def step() -> None:
        train()
        with torch.set_grad_enabled(graph):
            loss()

    return step


def pal_step(
    model: nn.Module, loss: Callable[[], Tensor], beta: float = 0.0, weight_decay: float = 0.0
) -> Step:
    """PAL."""
    optimizer = PAL(model.parameters(), mu=1e-3, s_max=1e-3, beta=beta, weight_decay=weight_decay)
    return lambda: optimizer.step(loss)


def named_step(name: str, **settings: object) -> Maker:
    """A registered optimizer with its defaults and a few changes."""

    def make(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
        method = optimizers.build(name, model.parameters(), settings)
        return lambda: method.step(loss)

    return make


def captured(step: Step) -> Step:
    """The step as a replayed CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


CAPTURABLE: dict[str, Maker] = {
    "SGD + forward (floor)": floor_step,
    "SGD": sgd_step,
    "SGD + graph": lambda model, loss: floor_step(model, loss, graph=True),
    "PAL": pal_step,
    "PAL, beta 0.4": lambda model, loss: pal_step(model, loss, beta=0.4),
    "PAL, weight decay": lambda model, loss: pal_step(model, loss, weight_decay=1e-4),
    "PAL, both": lambda model, loss: pal_step(model, loss, beta=0.4, weight_decay=1e-4),
}
"""Rows that read nothing from the device, so that CUDA graphs can capture them."""

SETTINGS: dict[str, dict[str, object]] = {
    "lbfgs": {"lr": 0.1, "max_iter": 4, "history_size": 10},
    "labpal": {"reuse": 100},
}

COSTS = CAPTURABLE | {
    name: named_step(name, **SETTINGS.get(name, {})) for name in PAPER | BEYOND if name not in ("sgd", "pal")
}
"""All rows of the table."""

COMPARED = tuple(COSTS)[:2]
"""The rows that the others are compared with."""


def prepare(problem: Problem, make: Maker, device: torch.device, graphed: bool) -> Row:
    """A separate model for the row, and its step."""
    torch.manual_seed(0)
    model = models.build(problem.network, problem.shape, 10).to(device)
    x = torch.randn(BATCH, *problem.shape, device=device)
    if x.ndim == 4:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,), device=device)
    loss = Watched(lambda: functional.cross_entropy(model(x), y))
    step = make(model, loss)
    copies = held(model, step, loss) / sum(param.nbytes for param in model.parameters())
    return Row(captured(step) if graphed else step, loss, lambda: y.random_(10), copies)


def measure(rows: Sequence[Row], device: torch.device, seconds: float) -> list[list[float]]:
    """Times of all steps in turn, in rounds until the time is over, but at least 10."""
    for row in rows:
        for _ in range(3):
            row.step()
        row.loss.forward = row.loss.backward = 0
    times: list[list[float]] = [[] for _ in rows]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 10:
        for row, own in zip(rows, times, strict=True):
            row.refresh()
            own.append(seconds_of(row.step, device))
    return times


def table(
    name: str, device: torch.device, seconds: float, wanted: Sequence[str], graphed: bool = False
) -> None:
    """Print the table of one problem; the passes of captured steps are those of the eager table."""
    problem = PROBLEMS[name]
    torch.set_num_threads(problem.threads)
    possible = CAPTURABLE if graphed else COSTS
    costs = {row: make for row, make in possible.items() if row in (*COMPARED, *wanted)}
    rows = [prepare(problem, make, device, graphed) for make in costs.values()]
    times = measure(rows, device, seconds)
    kind = "captured" if graphed else "eager"
    print(f"\n{name}, batch {BATCH}, {device}, {kind}, {problem.threads} thread(s), {len(times[0])} rounds")
    print(f"{'':24}{'forward':>8}{'backward':>9}{'copies':>8}{'ms':>10}{'x floor':>9}{'x SGD':>8}")
    for label, row, own in zip(costs, rows, times, strict=True):
        passes = [
            math.nan if graphed else count / len(own) for count in (row.loss.forward, row.loss.backward)
        ]
        against = [
            statistics.median(a / b for a, b in zip(own, other, strict=True))
            for other in times[: len(COMPARED)]
        ]
        shown = f"{passes[0]:8.2f}{passes[1]:9.2f}{row.copies:8.2f}{1e3 * statistics.median(own):10.3f}"
        print(f"{label:24}{shown}{against[0]:9.3f}{against[1]:8.3f}")


def main() -> None:
    """Print one table for each problem."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each table")
    parser.add_argument(
        "--rows", nargs="+", choices=COSTS, default=list(COSTS), metavar="ROW", help=f"of {', '.join(COSTS)}"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    for name in args.problems:
        table(name, device, args.seconds, args.rows)
        if device.type == "cuda":
            table(name, device, args.seconds, args.rows, graphed=True)


if __name__ == "__main__":
    main()
