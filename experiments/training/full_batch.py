"""The mean loss over batches as a function of the weights: over an epoch the full-batch loss, or over one batch.

The full-batch loss is the mean over the batches of a training's first epoch, in training mode (see `studies.fullbatch`
for the reasons); the loss of a single batch is what a step on it minimises.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from experiments.common.errors import UserError
from experiments.training.batch_line import dot
from experiments.training.config import RunConfig
from experiments.training.trainer import Trainer, l2_term
from pal.randomness import Randomness
from pal.search import LineMinimum, search

Batch = tuple[Tensor, Tensor]

SEARCH_PASSES = 10
"""Forward passes of a typical search for a minimum, by which the time of studies is estimated."""

LIMIT = 20.0
"""The largest distance at which minima are searched, as for the exact line search."""


class MeanLoss:
    """Mean loss over batches of one size, with L2 term.

    Every evaluation draws the same random numbers: those that come next when this object is created.

    Args:
        loss: Mean loss of a batch at the current weights.
        batches: All batches, in memory.
        params: The weights.
        l2: lambda of lambda / 2 ||theta||^2.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        batches: Sequence[Batch],
        params: Sequence[Tensor],
        l2: float,
    ) -> None:
        self._loss, self._batches, self._params, self._l2 = loss, batches, params, l2
        self._moment = Randomness()

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """The loss, a float64 scalar."""
        self._moment.restore()
        loss = torch.stack([self._loss(*batch) for batch in self._batches]).double().mean()
        return loss + l2_term(self._params, self._l2).double() if self._l2 else loss

    def gradient(self) -> list[Tensor]:
        """The gradient, one tensor per parameter; keeps the activations of one batch at a time."""
        self._moment.restore()
        total = [torch.zeros_like(param) for param in self._params]
        for batch in self._batches:
            torch._foreach_add_(total, self._gradient_of(self._loss(*batch)), alpha=1 / len(self._batches))
        if self._l2:
            torch._foreach_add_(total, self._gradient_of(l2_term(self._params, self._l2)))
        return total

    def slope(self, direction: Sequence[Tensor], norm: float) -> float:
        """Derivative along d / ||d||; keeps the activations of one batch at a time."""
        self._moment.restore()
        total = sum(
            self._along(direction, self._loss(*batch)) / len(self._batches) for batch in self._batches
        )
        if self._l2:
            total += self._along(direction, l2_term(self._params, self._l2))
        return total / norm if norm > 0 else 0.0

    def _along(self, direction: Sequence[Tensor], loss: Tensor) -> float:
        return dot(self._gradient_of(loss), direction)

    def _gradient_of(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, self._params)


def mean_loss(trainer: Trainer, batches: Sequence[Batch]) -> MeanLoss:
    """The mean loss of the network of a training over batches."""
    problem, model = trainer.problem, trainer.model
    return MeanLoss(
        lambda x, y: problem.loss(model, x, y), batches, list(model.parameters()), trainer.config.l2
    )


def minimum(loss: Callable[[float], float], loss0: float, slope: float, mu: float) -> LineMinimum:
    """The exact minimum on a line, within `LIMIT`; at a negative distance if the slope is positive.

    Args:
        loss: l(s).
        loss0: l(0).
        slope: l'(0), loss per distance.
        mu: The first distance to try.
    """
    side = -1.0 if slope > 0 else 1.0
    found = search(lambda distance: loss(side * distance), loss0, side * slope, mu, LIMIT)
    return found._replace(distance=side * found.distance)


def whole_epochs(configs: list[RunConfig]) -> list[RunConfig]:
    """The same runs; raises UserError if an epoch is not a whole number of batches: some examples would count twice."""
    for config in configs:
        examples = config.resolved_problem.examples[0]
        if examples % config.batch_size:
            raise UserError(
                f"{config.problem} has {examples} training examples; train_size must be a multiple of the batch "
                f"size, {config.batch_size}, so that every example counts once"
            )
    return configs
