"""The loss of the current batch along its negative gradient, measured without affecting the training."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.training.measure import preserved
from experiments.training.trainer import Trainer
from pal.closure import BatchLoss
from pal.line import Line
from pal.randomness import Randomness


@dataclass(frozen=True)
class BatchLine:
    """l(s) = loss(theta - s g/||g||) of one batch, with the same random numbers in every forward pass.

    Attributes:
        loss0: l(0).
        slope: l'(0) = -||g||, loss per distance.
        line: The line on which it moves the weights.
        gradient: g, one tensor for each parameter.
    """

    loss0: float
    slope: float
    line: Line
    gradient: list[Tensor]
    _again: Callable[[], Tensor]
    _gradient_here: Callable[[], list[Tensor]]

    def losses(self, distances: Sequence[float]) -> list[float]:
        """l at these distances."""
        return self.line.losses(self._again, distances).double().tolist()

    def angle(self, distance: float) -> float:
        """Angle in degrees between g and the gradient of the same batch at a distance.

        90 at a minimum of the line, less before it, more beyond it; NaN if a gradient is zero.
        """
        self.line.move(distance)
        there = self._gradient_here()
        self.line.restore()
        length = math.sqrt(dot(there, there))
        cosine = dot(self.gradient, there) / (length * -self.slope) if length * self.slope else math.nan
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) if math.isfinite(cosine) else math.nan


@contextmanager
def batch_line(trainer: Trainer) -> Iterator[BatchLine]:
    """The line of the current batch; afterwards, weights, gradients, buffers and random generators are as before."""
    params = [param for param in trainer.model.parameters() if param.requires_grad]
    moment, batch_loss, gradient = Randomness(), BatchLoss(), list[Tensor]()

    def gradient_here() -> list[Tensor]:
        moment.restore()
        return list(torch.autograd.grad(trainer.loss_fn(), params))

    with preserved(trainer.model):
        loss0 = batch_loss.measure(
            trainer.loss_fn, lambda loss: gradient.extend(torch.autograd.grad(loss, params))
        )
        line = Line(params, [-each for each in gradient])
        try:
            yield BatchLine(
                loss0.item(), -float(line.norm), line, gradient, batch_loss.reevaluate, gradient_here
            )
        finally:
            line.restore()


def dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Inner product over all tensors, summed in float64."""
    return math.fsum(
        torch.dot(one.reshape(-1).double(), other.reshape(-1).double()).item()
        for one, other in zip(first, second, strict=True)
    )
