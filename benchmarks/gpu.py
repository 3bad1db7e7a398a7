"""Training on a GPU: eager steps, steps captured in a CUDA graph, and several runs on one card.

One table per problem, with batches of 128 drawn as in a run:

* SGD, PAL: steps per second, in total if several runs share the card (in processes, like the launcher's slots);
* PAL / floor: time of a step divided by that of an SGD step and one more forward pass;
* kernels: fraction of the time in which kernels run; otherwise the device waits for the host;
* below: speed of a full-batch line, relative to plain forward passes.

    python -m benchmarks.gpu [--problems cifar10-resnet32] [--runs 2 4] [--seconds 10]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks import line_throughput
from benchmarks.timing import seconds_of
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.problems import PROBLEMS
from experiments.training.config import resolve
from experiments.training.trainer import Trainer

DEVICE = torch.device("cuda")
SHOWN = ["cifar10-resnet32", "cifar10-mobilenetv2", "cifar10-densenet40"]
BLOCK = 20
"""Number of steps that are timed together."""

FLOOR = "sgd-and-forward"


class SGDAndForward(torch.optim.SGD):
    """An SGD step and one more forward pass: the least that a search with one more point can cost."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; returns the loss before it."""
        self.zero_grad()
        with torch.enable_grad():
            loss = closure()
            loss.backward()
        super().step()
        closure()
        return loss.detach()


OPTIMIZERS[FLOOR] = OptimizerSpec(
    "benchmarks.gpu:SGDAndForward", "forward", {"lr": 0.01, "momentum": 0.9}, {"nesterov": True}, captured=()
)
SETTINGS = {"sgd": {"lr": 0.01}}


class Mode(NamedTuple):
    """How steps are taken."""

    label: str
    capture: bool
    dtype: str = "float32"
    deterministic: bool = True


MODES = (
    Mode("eager", capture=False),
    Mode("captured", capture=True),
    Mode("captured, not deterministic", capture=True, deterministic=False),
    Mode("captured, bfloat16", capture=True, dtype="bfloat16"),
)
SHARED = MODES[1]
"""How steps are taken if several runs share the card."""


def prepared(problem: str, optimizer: str, mode: Mode) -> Trainer:
    """A training that has taken its first steps."""
    config = resolve(
        "single",
        problem=problem,
        optimizer=optimizer,
        settings=SETTINGS.get(optimizer, {}),
        device=DEVICE.type,
        dtype=mode.dtype,
        deterministic=mode.deterministic,
    )
    trainer = Trainer(config, capture=mode.capture)
    steps(trainer)
    return trainer


def steps(trainer: Trainer) -> None:
    """A block of steps."""
    for _ in range(BLOCK):
        trainer.draw()
        trainer.advance()


def block_times(trainers: Sequence[Trainer], seconds: float) -> list[list[float]]:
    """Times of blocks of each training in turn, over several rounds."""
    times: list[list[float]] = [[] for _ in trainers]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for trainer, own in zip(trainers, times, strict=True):
            own.append(seconds_of(lambda it=trainer: steps(it), DEVICE))
    return times


def kernel_seconds(trainer: Trainer) -> float:
    """Time in which kernels run during a block."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        seconds_of(lambda: steps(trainer), DEVICE)
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6


class Alone(NamedTuple):
    """Measurements of one run at a time.

    Attributes:
        sgd: Time of a block of SGD steps.
        pal: Time of a block of PAL steps.
        ratio: PAL / floor.
    """

    sgd: float
    pal: float
    ratio: float


def alone(problem: str, mode: Mode, seconds: float) -> Alone:
    """Times of one run at a time."""
    trainers = [prepared(problem, name, mode) for name in ("sgd", "pal", FLOOR)]
    sgd, pal, floor = block_times(trainers, seconds)
    ratio = statistics.median(ours / least for ours, least in zip(pal, floor, strict=True))
    return Alone(statistics.median(sgd), statistics.median(pal), ratio)


def row(problem: str, mode: Mode, found: Alone) -> list[str]:
    """A row of the table: one run at a time."""
    speeds = [f"{BLOCK / block:.0f}" for block in (found.sgd, found.pal)]
    busy = [
        f"{kernel_seconds(prepared(problem, name, mode)) / block:.2f}"
        for name, block in (("sgd", found.sgd), ("pal", found.pal))
    ]
    return [mode.label, "1", *speeds, f"{found.ratio:.3f}", *busy]


def together(problem: str, runs: int, seconds: float) -> list[str]:
    """A row of the table: several runs at a time, each in its own process."""
    speeds = [f"{sum(sharing(problem, name, runs, seconds)):.0f}" for name in ("sgd", "pal")]
    return [SHARED.label, str(runs), *speeds]


def sharing(problem: str, optimizer: str, runs: int, seconds: float) -> list[float]:
    """Steps per second of each of several runs."""
    command = [sys.executable, "-m", "benchmarks.gpu", f"--seconds={seconds}", "--share", problem, optimizer]
    several = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(runs)
    ]
    for process in several:
        assert process.stdout is not None
        if not any(line == "ready\n" for line in process.stdout):  # preceded by messages of the run
            raise SystemExit(f"a run of {problem} with {optimizer} did not begin")
    for process in several:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(process.communicate()[0]) for process in several]


def share(problem: str, optimizer: str, seconds: float) -> None:
    """In its own process: wait for a line on standard input, take steps, and print how many per second."""
    trainer = prepared(problem, optimizer, SHARED)
    print("ready", flush=True)
    sys.stdin.readline()
    (times,) = block_times([trainer], seconds)
    print(BLOCK * len(times) / sum(times))


def table(problem: str, runs: Sequence[int], seconds: float) -> Table:
    """All rows of one problem."""
    task, name = PROBLEMS[problem], torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    shown = Table(title=f"{problem}, batch {task.batch_size}, {name}")
    shown.add_column("steps")
    for column in ("runs", "SGD / s", "PAL / s", "PAL / floor", "kernels, SGD", "kernels, PAL"):
        shown.add_column(column, justify="right")
    # All are timed before profiling, which may slow down what follows.
    timed = [alone(problem, mode, seconds) for mode in MODES]
    for mode, found in zip(MODES, timed, strict=True):
        shown.add_row(*row(problem, mode, found))
    for count in runs:
        shown.add_row(*together(problem, count, seconds))
    case = line_throughput.Case(task.network, task.data.shape, batches=8, required=0.0)
    speed, part = line_throughput.measured(case, DEVICE, seconds)
    shown.caption = f"full-batch line: {speed:.0f} examples x points / s, {part:.3f} of plain forward passes"
    return shown


def main() -> None:
    """Print the tables, or one sentence if there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=SHOWN)
    parser.add_argument("--runs", nargs="*", type=int, default=[2, 4], help="at a time (2 4)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--share", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device, and torch finds none: nothing is measured.")
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    if given.share:
        problem, optimizer = given.share
        share(problem, optimizer, given.seconds)
        return
    for problem in given.problems:
        Console(width=120).print(table(problem, given.runs, given.seconds))


if __name__ == "__main__":
    main()
