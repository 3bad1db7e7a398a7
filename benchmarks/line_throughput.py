"""Speed of measuring the full-batch loss along a line, relative to plain forward passes.

A point of the line costs one move of the weights and a forward pass over all batches, which are already on the device.
The table gives examples x points per second of `Line.losses` over `MeanLoss`, and their ratio to those of the same
network's forward passes alone (median over rounds in one process): 1 means that moving costs nothing.

    python -m benchmarks.line_throughput [--seconds 30] [--threads 1] [--device cuda]
"""

import argparse
import statistics
import time
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.timing import seconds_of
from experiments import models
from experiments.training.full_batch import MeanLoss
from pal.line import Line

BATCH = 128


class Case(NamedTuple):
    """A network, the shape of its inputs, the number of batches, and the required ratio."""

    network: str
    shape: tuple[int, ...]
    batches: int
    required: float


CASES = (
    Case("mlp-128-128", (1, 8, 8), 10, 0.90),
    Case("digits-cnn", (1, 8, 8), 10, 0.95),
    Case("resnet20", (3, 32, 32), 4, 0.95),
)
POINTS = 4
"""Number of points of the line in one round."""


def measured(case: Case, device: torch.device, seconds: float) -> tuple[float, float]:
    """Examples x points per second along the line, and their ratio to plain forward passes."""
    torch.manual_seed(0)
    layout = torch.channels_last if case.shape[0] == 3 else torch.contiguous_format
    model = models.build(case.network, case.shape, 10).to(device).to(memory_format=layout)
    batches = [
        (
            torch.randn(BATCH, *case.shape, device=device).to(memory_format=layout),
            torch.randint(10, (BATCH,), device=device),
        )
        for _ in range(case.batches)
    ]
    params = list(model.parameters())

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(model(x), y)

    @torch.no_grad()
    def plain() -> None:
        for _ in range(POINTS):
            for x, y in batches:
                loss(x, y)

    full_loss = MeanLoss(loss, batches, params, l2=0.0)
    line = Line(params, [torch.randn_like(param) for param in params])
    distances = [0.01 * (point + 1) for point in range(POINTS)]
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 10:
        times.append(
            (seconds_of(plain, device), seconds_of(lambda: line.losses(full_loss, distances), device))
        )
    share = statistics.median(alone / along for alone, along in times[2:])
    speed = POINTS * BATCH * case.batches / statistics.median(along for _, along in times[2:])
    return speed, share


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="time for each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.device}, {arguments.threads} thread(s), batches of {BATCH}")
    print(f"{'network':16}{'examples x points / s':>24}{'ratio':>8}{'required':>10}")
    for case in CASES:
        speed, share = measured(case, torch.device(arguments.device), arguments.seconds)
        print(f"{case.network:16}{speed:24.0f}{share:8.3f}{case.required:10.2f}", flush=True)


if __name__ == "__main__":
    main()
