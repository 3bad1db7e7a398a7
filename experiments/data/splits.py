"""Examples in the memory of a device, and the three parts of every data set."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Files(Protocol):
    """Inputs too large for memory, read batch by batch (see `imagefolder.ImageFiles`)."""

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        """The examples `indices`, cropped at the relative positions `draws` (None: the centre)."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same files, read onto `device`."""
        ...

    def select(self, rows: slice) -> Self:
        """Some of the files."""
        ...

    def sha256(self) -> str:
        """SHA-256 over the files' names and sizes."""
        ...


@dataclass(frozen=True)
class Split:
    """Raw examples (uint8 for images and characters) and their targets, one row per example."""

    inputs: Tensor | Files
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """The device of the batches of this split."""
        return self.inputs.device

    def to(self, device: torch.device) -> "Split":
        """This split on `device`."""
        return Split(self.inputs.to(device), self.targets.to(device))

    def part(self, rows: slice) -> "Split":
        """Consecutive examples, without a copy."""
        inputs = self.inputs[rows] if isinstance(self.inputs, Tensor) else self.inputs.select(rows)
        return Split(inputs, self.targets[rows])

    def take(self, indices: Tensor, draws: Tensor | None = None) -> Tensor:
        """Raw inputs of the examples `indices`."""
        if isinstance(self.inputs, Tensor):
            return self.inputs.index_select(0, indices)
        return self.inputs.take(indices, draws)


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples; validation is the test split if none is held out."""

    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device) -> "Splits":
        """All three splits on `device`; a split that serves twice is stored once."""
        test = self.test.to(device)
        shared = self.validation is self.test
        return Splits(self.train.to(device), test if shared else self.validation.to(device), test)

    def without_validation(self) -> "Splits":
        """The same with all training examples for training, and the test set as validation set."""
        if self.validation is self.test:
            return self
        return Splits(_joined(self.train, self.validation), self.test, self.test)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of training, validation and test examples."""
        return len(self.train), len(self.validation), len(self.test)


def _joined(first: Split, second: Split) -> Split:
    if not (isinstance(first.inputs, Tensor) and isinstance(second.inputs, Tensor)):
        raise TypeError("only resident examples can be joined")
    return Split(torch.cat((first.inputs, second.inputs)), torch.cat((first.targets, second.targets)))


def held_out(train: Split, test: Split, validation: int) -> Splits:
    """Hold out the last `validation` training examples by index; 0: the test split serves twice."""
    if validation == 0:
        return Splits(train, test, test)
    kept = len(train) - validation
    return Splits(train.part(slice(kept)), train.part(slice(kept, None)), test)
