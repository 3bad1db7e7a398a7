"""How far rounding alone moves the first steps of a training, by which `verify` and `repeat` judge where it differs.

Each problem is trained by each optimizer for ten steps, in worker processes with other instructions or threads than the
portable set on one thread. The table has the largest relative difference of loss or step in the first, second, third,
fifth and tenth step.

    python -m benchmarks.rounding [--problems digits-mlp ...] [--optimizers pal ...]
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import torch

from experiments.cli import verify
from experiments.cli.repeat import deviations
from experiments.common import instruction_set
from experiments.results.tables.fingerprints import Head
from experiments.training.config import resolve

PROBLEMS = (
    "digits-mlp",
    "digits-cnn",
    "mnist-mlp-5k",
    "cifar10-16-resnet8-narrow-2k",
    "cifar10-16-resnet8-5k",
)
OPTIMIZERS = ("pal", "sgd", "adam", "rmsprop", "sls")
SHOWN = (1, 2, 3, 5, 10)
"""Steps that the table has."""

NATIVE = instruction_set.environment("native")
KINDS = {
    "portable": (NATIVE | instruction_set.variables(), 1),
    "native": (NATIVE, 1),
    "sse4.1": (NATIVE | instruction_set.WITHOUT | instruction_set.BOTH, 1),
    "2 threads": (NATIVE | instruction_set.variables(), 2),
}
"""Variables and threads of the workers; the first is what the others are compared with."""


def work(threads: int, problems: Sequence[str], optimizers: Sequence[str]) -> None:
    """Print the first steps of each training as JSON, one line each."""
    torch.set_num_threads(threads)
    for problem, name in itertools.product(problems, optimizers):
        print(json.dumps(verify.repeat(resolve("single", problem=problem, optimizer=name))), flush=True)


def first_steps(kind: str, problems: Sequence[str], optimizers: Sequence[str]) -> list[Head]:
    """What a worker of a kind prints."""
    variables, threads = KINDS[kind]
    command = [sys.executable, "-m", "benchmarks.rounding", "--threads", str(threads)]
    words = ["--problems", *problems, "--optimizers", *optimizers]
    done = subprocess.run([*command, *words], env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=PROBLEMS)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS)[1:], default=list(KINDS)[1:])
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads:
        work(args.threads, args.problems, args.optimizers)
        return
    kinds = [next(iter(KINDS)), *args.kinds]
    reference, *others = (first_steps(kind, args.problems, args.optimizers) for kind in kinds)
    print(f"{'relative difference in step':46}{''.join(f'{step:>10}' for step in SHOWN)}")
    for names, then, *found in zip(
        itertools.product(args.problems, args.optimizers), reference, *others, strict=True
    ):
        worst = np.max([deviations(then, now) for now in found], axis=0)
        print(f"{' '.join(names):46}{''.join(f'{worst[step - 1]:>10.0e}' for step in SHOWN)}", flush=True)


if __name__ == "__main__":
    main()
