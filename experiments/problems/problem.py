"""A problem: a data set and a network, with everything else that all optimizers share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.common.errors import UserError
from experiments.data import dataset
from experiments.data.checks import check_splits
from experiments.data.dataset import Dataset
from experiments.data.loader import Loader, ReadAhead
from experiments.data.splits import Split, Splits
from experiments.models.build import build as build_network
from experiments.problems.objectives import OBJECTIVES, Objective, as_input_of


class Score(NamedTuple):
    """Mean loss (without L2 term), accuracy (None if it is not defined), and further metrics by name."""

    loss: float
    accuracy: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """One training task: everything that does not depend on the optimizer.

    Attributes:
        name: As in the registry.
        dataset: Name in `experiments.data`.
        network: Name in `experiments.models`.
        source: Where the choices come from.
        steps: Length of a full training.
        batch_size: Examples per step.
        l2: lambda of lambda / 2 ||theta||^2 over all parameters, which training adds to the batch loss.
        augment: Whether to crop and flip training images randomly.
        milestones: Fractions of the steps after which a stepwise schedule multiplies the learning rate by 0.1.
        train_size: Number of training examples to use, from the first; None: all.
        validation: Whether to hold out a validation set; if not, all training examples are for training, and the
            test set is also used for validation.
        shuffle: Whether each epoch has its own order.
        objective: Name in `objectives` of what is minimised; None: the usual one for the targets of the data set.
    """

    name: str
    dataset: str
    network: str
    source: str
    steps: int
    batch_size: int = 128
    l2: float = 1e-4
    augment: bool = False
    milestones: tuple[float, ...] = (0.5, 0.75)
    train_size: int | None = None
    validation: bool = True
    shuffle: bool = True
    objective: str | None = None

    @property
    def data(self) -> Dataset:
        """The data set."""
        return dataset.get(self.dataset)

    @property
    def objective_name(self) -> str:
        """The name of what is minimised."""
        return self.objective or self.data.task

    @property
    def examples(self) -> tuple[int, int, int]:
        """Numbers of training, validation and test examples, without loading them."""
        train, validation, test = self.data.sizes
        if not self.validation and self.data.holds_out:
            train, validation = train + validation, test
        return self.train_size or train, validation, test

    def load(self, device: torch.device | str = "cpu") -> Splits:
        """The splits in the memory of `device`; loaded once per process."""
        splits = _resident(self.dataset, self.validation, torch.device(device))
        if self.train_size is None:
            return splits
        if not 1 <= self.train_size <= len(splits.train):
            raise UserError(f"train_size is {self.train_size}; allowed are 1 to {len(splits.train)}")
        return Splits(splits.train.part(slice(self.train_size)), splits.validation, splits.test)

    def loader(self, split: Split, order_seed: int, augmentation_seed: int) -> Loader:
        """Training batches of `split`."""
        kind = Loader if isinstance(split.inputs, Tensor) else ReadAhead
        return kind(
            split,
            self.batch_size,
            self.data.transform,
            order_seed,
            augmentation_seed,
            augment=self.augment,
            shuffle=self.shuffle,
        )

    def build(self, seed: int) -> nn.Module:
        """Build the network on the CPU; its weights depend on the seed only, and global random state is unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = build_network(self.network, self.data.shape, self.data.outputs)
        # For colour images, convolutions are up to twice as fast with channels_last. With fewer than 8 channels, the
        # AVX2 code of oneDNN writes beyond its memory there, at least in torch 2.14.
        colour = self.data.shape[0] == 3 and len(self.data.shape) == 3
        channels = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
        fast = colour and min(channels, default=0) >= 8
        return model.to(memory_format=torch.channels_last) if fast else model

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the batch, without the L2 term."""
        return OBJECTIVES[self.objective_name].checked_loss(model(as_input_of(model, inputs)), targets)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Score:
        """Mean loss and accuracy over a split, in evaluation mode; the previous mode is restored."""
        training = model.training
        model.eval()
        try:
            return self._score(model, split)
        finally:
            model.train(training)

    def _score(self, model: nn.Module, split: Split) -> Score:
        objective = OBJECTIVES[self.objective_name]
        kept: list[tuple[Tensor, Tensor]] = []
        sums = torch.zeros(2, dtype=torch.float64, device=split.device)
        for indices in torch.arange(len(split), device=split.device).split(self._evaluation_batch()):
            inputs = self.data.transform.plain(split.take(indices))
            outputs, targets = model(as_input_of(model, inputs)), split.targets[indices]
            sums[0] += objective.checked_loss(outputs, targets).double() * len(indices)
            if objective.accuracy is not None:
                sums[1] += objective.accuracy(outputs, targets) * len(indices)
            if objective.metrics:
                kept.append((outputs, targets))
        loss, accuracy = (sums / len(split)).tolist()
        return Score(loss, None if objective.accuracy is None else accuracy, _measured(objective, kept))

    def _evaluation_batch(self) -> int:
        """Batch size for evaluation: about three million input values, which takes less memory than training."""
        return max(16, min(1024, 3_145_728 // math.prod(self.data.shape)))


def _measured(objective: Objective, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The metrics of an objective over all batches."""
    if not batches:
        return {}
    outputs, targets = map(torch.cat, zip(*batches, strict=True))
    return {name: float(metric(outputs, targets)) for name, metric in objective.metrics.items()}


@lru_cache(maxsize=4)
def _resident(name: str, validation: bool, device: torch.device) -> Splits:
    cpu = torch.device("cpu")
    if device != cpu:
        return _resident(name, validation, cpu).to(device)
    if not validation:
        return _resident(name, True, cpu).without_validation()
    data = dataset.get(name)
    splits = data.load()
    check_splits(name, data, splits)
    return splits
