"""Batches as a pure function of the step number, so that resuming or repeating a batch takes one call."""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import UserError
from experiments.data.splits import Split
from experiments.data.transforms import Transform


def random_stream(seed: int, number: int) -> np.random.Generator:
    """Stream `number` of `seed`: a counter-based generator, so streams share no state."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))


class Loader:
    """An endless stream of batches of one size, drawn without replacement within each epoch.

    Step t takes positions t B .. (t + 1) B - 1 of the concatenated orders of epochs 0, 1, 2, ...; as in the
    published pipeline (repeat, then batch), the last batch of an epoch is filled from the next one.

    Args:
        split: The examples; batches are on its device.
        batch_size: B, at most the number of examples.
        transform: Turns raw examples into network input.
        order_seed: Seed of the order of each epoch.
        augmentation_seed: Seed of the augmentation of each example in each epoch.
        augment: Whether to augment.
        shuffle: False keeps the stored order in every epoch.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        transform: Transform,
        order_seed: int,
        augmentation_seed: int,
        *,
        augment: bool,
        shuffle: bool = True,
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise UserError(
                f"batch_size is {batch_size}; allowed are 1 to {len(split)}, the training examples"
            )
        self.split = split
        self.batch_size = batch_size
        self.steps_per_epoch = math.ceil(len(split) / batch_size)
        self._transform = transform
        self._seeds = (order_seed, augmentation_seed)
        self._augment = augment
        self._shuffle = shuffle
        self._epochs: dict[int, tuple[Tensor, Tensor | None]] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Network input and targets of step `step` (0, 1, 2, ...)."""
        indices, draws = self._places(step * self.batch_size)
        raw, targets = self.split.take(indices, draws), self.split.targets.index_select(0, indices)
        if draws is None:
            return self._transform.plain(raw), targets
        return self._transform.augmented(raw, draws), targets

    def _places(self, first: int) -> tuple[Tensor, Tensor | None]:
        """Indices and random numbers of the batch that begins at position `first` of the endless order."""
        epoch, start = divmod(first, len(self.split))
        order, draws = self._epoch(epoch)
        stop = start + self.batch_size
        if stop <= len(self.split):
            return order[start:stop], None if draws is None else draws[start:stop]
        rest = stop - len(self.split)
        next_order, next_draws = self._epoch(epoch + 1)
        if draws is None or next_draws is None:
            return torch.cat((order[start:], next_order[:rest])), None
        return torch.cat((order[start:], next_order[:rest])), torch.cat((draws[start:], next_draws[:rest]))

    def _epoch(self, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Order and random numbers of an epoch; two epochs are cached, since a batch may span both."""
        if epoch not in self._epochs:
            if len(self._epochs) == 2:
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = self._make_epoch(epoch)
        return self._epochs[epoch]

    def _make_epoch(self, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Draw them on the CPU, so that every device sees the same batches."""
        count, device = len(self.split), self.split.device
        order_random, draw_random = (random_stream(seed, epoch) for seed in self._seeds)
        order = torch.from_numpy(order_random.permutation(count)) if self._shuffle else torch.arange(count)
        if not self._augment:
            return order.to(device), None
        return order.to(device), torch.from_numpy(self._transform.draw(draw_random, count)).to(device)


class ReadAhead(Loader):
    """A loader that reads the next batch while the current one is in use."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[tuple[Tensor, Tensor]]] | None = None

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Network input and targets of step `step`."""
        ahead = self._next
        ready = (
            ahead[1] if ahead is not None and ahead[0] == step else self._reader.submit(super().batch, step)
        )
        result = ready.result()
        self._next = step + 1, self._reader.submit(super().batch, step + 1)
        return result
