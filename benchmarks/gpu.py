"""Training on a GPU: eager steps, steps captured in a CUDA graph, and several runs on one card.

Batches are drawn as in a run. Each measurement is a line, written when it is made:

* steps / s: of SGD and PAL, in total if several runs share the card (in processes, like the launcher's slots);
* PAL / floor: time of a step divided by that of an SGD step and one more forward pass;
* kernels: fraction of the time in which kernels run; otherwise the device waits for the host;
* full-batch line: examples x points per second, and their ratio to plain forward passes.

In the end, one table per problem has all of them.

    python -m benchmarks.gpu [--problems cifar10-resnet32] [--runs 4 8] [--seconds 5] [--rows rows.jsonl]
"""

import argparse
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import line_throughput
from benchmarks.timing import seconds_of
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.problems import PROBLEMS
from experiments.training.config import resolve
from experiments.training.trainer import Trainer

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
COMPARED = ("sgd", "pal")


class Mode(NamedTuple):
    """How steps are taken."""

    label: str
    capture: bool
    dtype: str = "float32"
    deterministic: bool = True


MODES = (
    Mode("eager", capture=False),
    Mode("captured", capture=True),
    Mode("captured, bfloat16", capture=True, dtype="bfloat16"),
    Mode("captured, not deterministic", capture=True, deterministic=False),
)
SHARED = MODES[1]
"""How steps are taken if several runs share the card."""

SPEED, RATIO, KERNELS = "steps / s", "PAL / floor", "kernels"
LINE, LINE_RATIO = "full-batch line / s", "full-batch line / forward"


class Row(NamedTuple):
    """One measurement.

    Attributes:
        problem: Name of the problem.
        mode: How steps were taken.
        runs: At a time on the card.
        optimizer: Of these runs.
        quantity: What was measured.
        value: The number; 0 if the measurement failed.
        note: What the runs said, such as why their steps are not captured, or why the measurement failed.
    """

    problem: str
    mode: str
    runs: int
    optimizer: str
    quantity: str
    value: float
    note: str = ""


class Bench:
    """Measurements on one device.

    Args:
        device: Where the steps are taken.
        seconds: Of each measurement.
    """

    def __init__(self, device: str, seconds: float) -> None:
        self.device, self.seconds = torch.device(device), seconds
        self._speeds: dict[tuple[str, Mode, str], float] = {}

    def prepared(self, problem: str, optimizer: str, mode: Mode) -> Trainer:
        """A training that has taken its first steps."""
        config = resolve(
            "single",
            problem=problem,
            optimizer=optimizer,
            settings=SETTINGS.get(optimizer, {}),
            device=self.device.type,
            dtype=mode.dtype,
            deterministic=mode.deterministic,
        )
        trainer = Trainer(config, capture=mode.capture)
        steps(trainer)
        return trainer

    def block_times(self, trainers: Sequence[Trainer]) -> list[list[float]]:
        """Times of blocks of each training in turn, over several rounds."""
        times: list[list[float]] = [[] for _ in trainers]
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end or len(times[0]) < 3:
            for trainer, own in zip(trainers, times, strict=True):
                own.append(seconds_of(lambda it=trainer: steps(it), self.device))
        return times

    def alone(self, problem: str, mode: Mode) -> Iterator[Row]:
        """Speeds of one run at a time, and PAL / floor."""
        with redirect_stdout(StringIO()) as said:
            trainers = [self.prepared(problem, name, mode) for name in (*COMPARED, FLOOR)]
            sgd, pal, floor = self.block_times(trainers)
        note = one_line(said.getvalue())
        for name, times in zip(COMPARED, (sgd, pal), strict=True):
            self._speeds[problem, mode, name] = speed = BLOCK / statistics.median(times)
            yield Row(problem, mode.label, 1, name, SPEED, speed, note)
        ratio = statistics.median(ours / least for ours, least in zip(pal, floor, strict=True))
        yield Row(problem, mode.label, 1, "pal", RATIO, ratio, note)

    def kernels(self, problem: str, mode: Mode) -> Iterator[Row]:
        """The fraction of the time, as `alone` has found it, in which kernels run."""
        for name in COMPARED:
            wall = BLOCK / self._speeds[problem, mode, name]
            with redirect_stdout(StringIO()):
                busy = self.kernel_seconds(self.prepared(problem, name, mode))
            yield Row(problem, mode.label, 1, name, KERNELS, busy / wall)

    def kernel_seconds(self, trainer: Trainer) -> float:
        """Time in which kernels run during a block."""
        gpu = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as seen:
            seconds_of(lambda: steps(trainer), self.device)
        events = (event for event in seen.key_averages() if event.device_type == DeviceType.CUDA)
        return sum(event.self_device_time_total for event in events) / 1e6

    def together(self, problem: str, counts: Sequence[int]) -> Iterator[Row]:
        """Speeds of several runs at a time, each in its own process, added up."""
        with self._sharing(problem, max(counts, default=0)) as (processes, note):
            for count in counts:
                for name in COMPARED:
                    speed = sum(speeds(processes[:count], name))
                    yield Row(problem, SHARED.label, count, name, SPEED, speed, note)

    @contextmanager
    def _sharing(self, problem: str, count: int) -> Iterator[tuple[list[subprocess.Popen[str]], str]]:
        """Processes that are ready to take steps, and what the first has said."""
        command = [sys.executable, "-m", "benchmarks.gpu", f"--seconds={self.seconds}"]
        command += [f"--device={self.device.type}", "--share", problem]
        gc.collect()
        torch.cuda.empty_cache()  # the card's memory is for the others now
        with ExitStack() as stack:
            several = [
                stack.enter_context(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                )
                for _ in range(count)
            ]
            for process in several:
                stack.callback(process.kill)
            said = [until_ready(process) for process in several]
            yield several, one_line("".join(said[:1]))

    def share(self, problem: str) -> None:
        """In its own process: for each optimizer on standard input, take steps, and print how many per second."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
        trainers = {name: self.prepared(problem, name, SHARED) for name in COMPARED}
        print(READY, flush=True)
        for line in sys.stdin:
            (times,) = self.block_times([trainers[line.strip()]])
            print(BLOCK * len(times) / sum(times), flush=True)

    def line(self, problem: str) -> Iterator[Row]:
        """Speed of a full-batch line."""
        task = PROBLEMS[problem]
        case = line_throughput.Case(task.network, task.data.shape, batches=8, required=0.0)
        for quantity, value in zip(
            (LINE, LINE_RATIO), line_throughput.measured(case, self.device, self.seconds), strict=True
        ):
            yield Row(problem, MODES[0].label, 1, "pal", quantity, value)

    def every(self, problems: Sequence[str], counts: Sequence[int]) -> Iterator[Row]:
        """All measurements, in order of worth."""
        exact, others = (
            [(problem, mode) for problem in problems for mode in MODES if mode.deterministic is wanted]
            for wanted in (True, False)
        )
        shared = [((problem, SHARED), self.together(problem, counts)) for problem in problems]
        parts = [(each, self.alone(*each)) for each in exact]
        parts += shared[:1]
        parts += [(each, self.alone(*each)) for each in others]
        # Profiling may slow down what follows in this process.
        parts += [(each, self.kernels(*each)) for each in (*exact, *others)]
        parts += shared[1:]
        parts += [((problem, MODES[0]), self.line(problem)) for problem in problems]
        for names, rows in parts:
            yield from attempted(*names, rows)


READY = "ready"


def until_ready(process: subprocess.Popen[str]) -> str:
    """What a process says before it is ready; raises RuntimeError if it ends instead."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        if line == f"{READY}\n":
            return said
        said += line
    raise RuntimeError(f"a run did not begin {said}")


def speeds(processes: Sequence[subprocess.Popen[str]], optimizer: str) -> list[float]:
    """Steps per second of each of several runs at a time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{optimizer}\n")
        process.stdin.flush()
    return [float(process.stdout.readline()) for process in processes if process.stdout is not None]


def attempted(problem: str, mode: Mode, rows: Iterator[Row]) -> Iterator[Row]:
    """These rows; an error, such as too little memory on the card, is a row that names it, and others follow."""
    try:
        yield from rows
    except Exception as error:
        yield Row(problem, mode.label, 0, "", "failed", 0.0, one_line(f"{type(error).__name__}: {error}"))


def one_line(text: str) -> str:
    """The first lines as one, each only once."""
    return "; ".join(dict.fromkeys(text.strip().splitlines()))[:300]


def steps(trainer: Trainer) -> None:
    """A block of steps."""
    for _ in range(BLOCK):
        trainer.draw()
        trainer.advance()


def machine(device: str) -> dict[str, Any]:
    """Card, driver and versions."""
    gpu = device == "cuda"
    return {
        "card": torch.cuda.get_device_name() if gpu else "none, on the CPU",
        "driver": driver() if gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def driver() -> str | None:
    """Version of the NVIDIA driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def show(row: Row) -> None:
    """Print a measurement."""
    run = f"{row.problem:22}{row.mode:30}{row.runs:3} {row.optimizer:5}"
    print(f"{run}{row.quantity:26}{row.value:12.3f}  {row.note}", flush=True)


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """One table per problem."""
    for problem in dict.fromkeys(row.problem for row in rows):
        yield table(problem, [row for row in rows if row.problem == problem])


COLUMNS = {
    "SGD / s": ("sgd", SPEED, ".0f"),
    "PAL / s": ("pal", SPEED, ".0f"),
    "PAL / floor": ("pal", RATIO, ".3f"),
    "kernels, SGD": ("sgd", KERNELS, ".2f"),
    "kernels, PAL": ("pal", KERNELS, ".2f"),
    "line / s": ("pal", LINE, ".0f"),
    "line / forward": ("pal", LINE_RATIO, ".3f"),
}


def table(problem: str, rows: Sequence[Row]) -> Table:
    """All measurements of one problem, each combination of mode and number of runs in a line."""
    shown = Table(title=f"{problem}, batches of {PROBLEMS[problem].batch_size}")
    shown.add_column("steps")
    for column in ("runs", *COLUMNS):
        shown.add_column(column, justify="right")
    values = {(row.mode, row.runs, row.optimizer, row.quantity): row.value for row in rows}
    for mode, runs in dict.fromkeys((row.mode, row.runs) for row in rows if row.runs):
        found = [
            (values.get((mode, runs, name, quantity)), form) for name, quantity, form in COLUMNS.values()
        ]
        shown.add_row(
            mode, str(runs), *("" if value is None else format(value, form) for value, form in found)
        )
    shown.caption = "\n".join(dict.fromkeys(row.note for row in rows if row.note))
    return shown


def append(path: Path | None, values: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file, if there is one."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(values) + "\n")


def main() -> None:
    """Print the measurements, or one sentence if there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=SHOWN)
    parser.add_argument("--runs", nargs="*", type=int, default=[4, 8], help="at a time (4 8)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--rows", type=Path, help="also append them to this file, as lines of JSON")
    parser.add_argument("--device", default="cuda", help="cpu tries the benchmark itself (cuda)")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device, and torch finds none: nothing is measured.")
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    bench = Bench(given.device, given.seconds)
    if given.share:
        bench.share(given.share)
    else:
        measure(bench, given.problems, given.runs, given.rows)


def measure(bench: Bench, problems: Sequence[str], counts: Sequence[int], path: Path | None) -> None:
    """Print all measurements, and then the tables; if interrupted, of what there is."""
    here = machine(bench.device.type)
    print(", ".join(f"{name} {value}" for name, value in here.items()), flush=True)
    append(path, here)
    rows: list[Row] = []
    try:
        for row in bench.every(problems, counts):
            rows.append(row)
            show(row)
            append(path, row._asdict())
    except KeyboardInterrupt:
        print("stopped before the end")
    for shown in tables(rows):
        Console(width=140).print(shown)


if __name__ == "__main__":
    main()
