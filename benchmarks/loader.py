"""Time of a CIFAR-10 batch of 128, augmented and normalised: our loader and torchvision's transforms.

    python benchmarks/loader.py [--batches 60] [--threads 2]

The reference is what users would write: random crop with reflected border, horizontal flip, conversion and
normalisation by torchvision, in a DataLoader with 2 worker processes, on uint8 tensors (which take half the time of
PIL images). Both run in turn, and the fastest rounds, which are the least disturbed, are compared. Exits with code 1
if the ratio is below 15.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from experiments.data import Split
from experiments.problems import PROBLEMS

REQUIRED = 15.0
ROUNDS = 8


class Pictures(Dataset[tuple[Tensor, int]]):
    """Examples one by one, through torchvision's transforms."""

    def __init__(self, split: Split, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        assert isinstance(split.inputs, Tensor)
        self.pictures = list(split.inputs)
        self.labels = split.targets.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4, padding_mode="reflect"),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(mean), list(deviation)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[object]:
    """Batches of successive epochs."""
    while True:
        yield from loader


def mean_time(next_batch: Callable[[], object], batches: int) -> float:
    """Mean seconds of `next_batch`, after warming up with a fifth as many batches."""
    for _ in range(batches // 5):
        next_batch()
    start = time.perf_counter()
    for _ in range(batches):
        next_batch()
    return (time.perf_counter() - start) / batches


def measure(batches: int) -> tuple[float, float]:
    """Seconds per batch in the fastest round: ours, and torchvision's."""
    problem = PROBLEMS["cifar10-resnet20"]
    train = problem.load().train
    loader = problem.loader(train, order_seed=1, augmentation_seed=2)
    steps = iter(range(10**9))
    constants = problem.data.transform
    pictures = Pictures(train, constants.mean, constants.deviation)  # pyright: ignore[reportAttributeAccessIssue]
    workers = DataLoader(pictures, 128, shuffle=True, num_workers=2, persistent_workers=True)
    theirs = endless(workers)
    rounds = [
        (mean_time(lambda: loader.batch(next(steps)), batches), mean_time(lambda: next(theirs), batches))
        for _ in range(ROUNDS)
    ]
    ours_times, theirs_times = zip(*rounds, strict=True)
    return min(ours_times), min(theirs_times)


def main() -> int:
    """Measure, print, and compare with the required ratio."""
    parser = argparse.ArgumentParser(
        description="CIFAR-10 batches: our loader against torchvision's transforms."
    )
    parser.add_argument("--batches", type=int, default=60, help="batches per side and round")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ours, theirs = measure(arguments.batches)
    print(f"ours                          {ours * 1e3:7.3f} ms a batch")
    print(f"torchvision, 2 worker processes {theirs * 1e3:5.3f} ms a batch")
    print(f"ratio {theirs / ours:.1f} (required {REQUIRED:.0f})")
    return 0 if theirs / ours >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
