"""What the fixed instruction set costs: PAL's steps per second with it, and with all that the processor has.

One worker process per set takes some steps in turn, with weights and random batches of its own, so that a busy machine
slows both alike. Times are those of the processor, on one thread; the ratio is the median over rounds of the native
step's time to the fixed one's: above 1, the fixed set is faster.

    python -m benchmarks.instruction_sets [--problems mnist-mlp-5k ...] [--rounds 9] [--work 0.5]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, get_args

import torch

from experiments.common import instruction_set
from experiments.common.instruction_set import Choice
from experiments.problems import PROBLEMS
from pal import PAL

NETWORKS = (
    "mnist-mlp-5k",
    "cifar10-16-resnet8-5k",
    "cifar10-resnet8-2k",
    "cifar10-16-mobilenetv2-narrow-5k",
)
"""Problems with an MLP, ResNet-8 at 16x16 and at 32x32 pixels, and a narrow MobileNetV2 at 16x16."""


def step_of(name: str) -> Callable[[], object]:
    """A step of PAL on a problem's network, with random examples and new labels every time."""
    problem = PROBLEMS[name]
    model = problem.build(0).train()
    inputs = torch.randn(problem.batch_size, *problem.data.shape)
    targets = torch.randint(problem.data.outputs, (problem.batch_size,))
    optimizer = PAL(model.parameters(), mu=0.1)

    def step() -> None:
        targets.random_(problem.data.outputs)
        optimizer.step(lambda: problem.loss(model, inputs, targets))

    return step


def work(requests: IO[str], answers: IO[str]) -> None:
    """Read lines with a problem and a number of steps; write the processor time of a step of each."""
    torch.set_num_threads(1)
    steps: dict[str, Callable[[], object]] = {}
    for line in requests:
        name, count = line.split()
        steps[name] = step = steps.get(name) or step_of(name)
        start = time.process_time()
        for _ in range(int(count)):
            step()
        print((time.process_time() - start) / int(count), file=answers, flush=True)


class Worker:
    """A process that computes with one instruction set.

    Args:
        choice: The set.
    """

    def __init__(self, choice: Choice) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.instruction_sets", "--work-for-another"],
            env=instruction_set.environment(choice),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name: str, steps: int) -> float:
        """Processor time of a step of a problem, the mean of so many."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, steps, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def measure(workers: dict[Choice, Worker], name: str, rounds: int, work: float) -> dict[Choice, list[float]]:
    """Times of a step by instruction set, one per round of about `work` seconds for each."""
    warm = {choice: min(worker.seconds(name, 2) for _ in range(2)) for choice, worker in workers.items()}
    steps = max(1, round(work / max(warm.values())))
    found: dict[Choice, list[float]] = {choice: [] for choice in workers}
    for turn in range(rounds):
        for choice in list(workers)[:: 1 if turn % 2 else -1]:
            found[choice].append(workers[choice].seconds(name, steps))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--work", type=float, default=0.5, help="seconds per round, problem and instruction set"
    )
    parser.add_argument("--work-for-another", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work_for_another:
        work(sys.stdin, sys.stdout)
        return
    workers = {choice: Worker(choice) for choice in get_args(Choice)}
    print(f"{'steps per second of PAL':36}{'fixed':>9}{'native':>9}{'native / fixed time':>22}{'range':>14}")
    for name in args.problems:
        times = measure(workers, name, args.rounds, args.work)
        ratios = sorted(
            native / fixed for native, fixed in zip(times["native"], times["portable"], strict=True)
        )
        fixed, native = (1 / statistics.median(times[choice]) for choice in ("portable", "native"))
        spread = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
        print(f"{name:36}{fixed:9.1f}{native:9.1f}{statistics.median(ratios):22.2f}{spread:>14}", flush=True)


if __name__ == "__main__":
    main()
