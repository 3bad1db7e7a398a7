"""What an optimizer step costs, as a ratio to its floor, measured interleaved in one process.

The floor is a step of SGD with momentum plus one forward pass without gradients: what any search that measures one
point more must pay. Rounds of one step each follow one another, so that a busy machine slows all alike; the table gives
the median over the rounds of the ratio of the times within a round.

    python -m benchmarks.step_cost [--problems mlp resnet32 mobilenetv2] [--seconds 60] [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments import models
from pal import PAL

Step = Callable[[], object]
BATCH = 128


class Problem(NamedTuple):
    """A network with its input shape, and the threads it is measured with."""

    network: str
    shape: tuple[int, ...]
    threads: int


class Cost(NamedTuple):
    """An optimizer's row: its step on a model and a loss, and its passes per step."""

    step: Callable[[nn.Module, Callable[[], Tensor]], Step]
    forward: str
    backward: str


PROBLEMS = {
    "mlp": Problem("mlp-128-128", (64,), threads=1),
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


def floor_step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """SGD with momentum and one forward pass without gradients."""
    train = sgd_step(model, loss)

    def step() -> None:
        train()
        with torch.no_grad():
            loss()

    return step


def pal_step(
    model: nn.Module, loss: Callable[[], Tensor], beta: float = 0.0, weight_decay: float = 0.0
) -> Step:
    """PAL."""
    optimizer = PAL(model.parameters(), mu=1e-3, s_max=1e-3, beta=beta, weight_decay=weight_decay)
    return lambda: optimizer.step(loss)


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


COSTS = {
    "SGD + forward (floor)": Cost(floor_step, "2", "1"),
    "SGD": Cost(sgd_step, "1", "1"),
    "PAL": Cost(pal_step, "2", "1"),
    "PAL, beta 0.4": Cost(lambda model, loss: pal_step(model, loss, beta=0.4), "2", "1"),
    "PAL, weight decay": Cost(lambda model, loss: pal_step(model, loss, weight_decay=1e-4), "2", "1"),
}
"""The rows of the table; other optimizers join here."""


def prepare(problem: Problem, cost: Cost, device: torch.device, graphed: bool) -> Step:
    """A model of its own for the row, and its step."""
    torch.manual_seed(0)
    model = models.build(problem.network, problem.shape, 10).to(device)
    x = torch.randn(BATCH, *problem.shape, device=device)
    if x.ndim == 4:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,), device=device)
    step = cost.step(model, lambda: functional.cross_entropy(model(x), y))
    return captured(step) if graphed else step


def seconds_of(step: Step, device: torch.device) -> float:
    """Time of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(steps: Sequence[Step], device: torch.device, seconds: float) -> list[list[float]]:
    """Times of all steps in turn, round after round until the time is over, at least 10 rounds."""
    for step in steps:
        for _ in range(3):
            step()
    times: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 10:
        for step, row in zip(steps, times, strict=True):
            row.append(seconds_of(step, device))
    return times


def table(name: str, device: torch.device, seconds: float, graphed: bool = False) -> None:
    """Print the table of one problem."""
    problem = PROBLEMS[name]
    torch.set_num_threads(problem.threads)
    rows = list(COSTS)
    steps = [prepare(problem, COSTS[row], device, graphed) for row in rows]
    times = measure(steps, device, seconds)
    kind = "captured" if graphed else "eager"
    print(f"\n{name}, batch {BATCH}, {device}, {kind}, {problem.threads} thread(s), {len(times[0])} rounds")
    print(f"{'':24}{'forward':>8}{'backward':>9}{'ms':>10}{'x floor':>9}{'x SGD':>8}")
    for row, own in zip(rows, times, strict=True):
        against = [statistics.median(a / b for a, b in zip(own, other, strict=True)) for other in times[:2]]
        cost, ms = COSTS[row], 1e3 * statistics.median(own)
        print(f"{row:24}{cost.forward:>8}{cost.backward:>9}{ms:10.3f}{against[0]:9.3f}{against[1]:8.3f}")


def main() -> None:
    """Print one table for each problem."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each table")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    for name in args.problems:
        table(name, device, args.seconds)
        if device.type == "cuda":
            table(name, device, args.seconds, graphed=True)


if __name__ == "__main__":
    main()
