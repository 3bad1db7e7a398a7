"""Batch loss against full-batch loss along the directions of SGD (section 6 of the paper; after arXiv:2103.17132).

At many steps of an SGD training, two losses are measured along the unit direction of the next update (with momentum,
of the buffer): the loss of the batch that defines the direction, and that of all training examples, the full-batch loss
(the paper's "exact loss"). The tables (`tables.fullbatch`) then compare strategies on these lines.

The full-batch loss is the mean over the batches of the training's first epoch, in training mode: each batch is
normalised by its own statistics and augmented as the training saw it, dropout masks are those of the step at every
point, and the L2 term is included. Both losses are thus the same function of different examples, and the full-batch
loss is the mean of what SGD and PAL minimise. In evaluation mode it would depend on running statistics, too, which are
right at s = 0 only.

The measurements do not affect the training.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from experiments.studies.base import Study, Subset
from experiments.training.batch_line import dot
from experiments.training.config import RunConfig, Strict
from experiments.training.full_batch import mean_loss, whole_epochs
from experiments.training.measure import preserved, train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer
from pal.closure import BatchLoss
from pal.line import Line

Positive = Annotated[float, Field(gt=0)]

WIDENINGS = 5
"""How often the interval of a line is widened at most."""


class Measure(Strict):
    """Which lines are measured, and how finely.

    Attributes:
        every: Steps between measurements; the first step is measured.
        reach: The interval starts as [-reach, reach], and each widening adds `reach` to a side; a distance.
        spacing: Distance between points of the grid.
        mu: mu of the PAL strategies, a distance.
    """

    every: Annotated[int, Field(ge=1)]
    reach: Positive
    spacing: Positive
    mu: Positive


class Settings(Subset):
    """Section `fullbatch` of a profile.

    Attributes:
        momenta: Values of the momentum, each trained with each seed.
        lr: Constant learning rate of SGD.
        measure: Which lines are measured.
    """

    momenta: Annotated[list[float], Field(min_length=1)]
    lr: Positive
    measure: Measure


def plan(settings: Settings) -> list[RunConfig]:
    """One SGD training per problem, momentum and seed.

    Raises:
        UserError: If an epoch is not a whole number of batches.
    """
    kinds = [{"settings": {"lr": settings.lr, "momentum": momentum}} for momentum in settings.momenta]
    measure = settings.measure.model_dump()
    fields = {"optimizer": "sgd-plain", "measure": measure} | settings.size()
    return whole_epochs(settings.runs("fullbatch", kinds, **fields))


def passes(config: RunConfig) -> float:
    """Forward passes per measurement, for a line whose interval is not widened.

    Each point of the grid, the one at mu, and loss and slope at 0 take passes of the batch and of all training batches.
    Early in training, intervals are widened to several times as many points.
    """
    measure = Measure.model_validate(config.measure)
    points = 2 * _half(measure) + 1
    return (points + 3) * (1 + config.resolved_problem.examples[0] // config.batch_size)


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with SGD and measure lines during training; each array of the trace has one row per line.

    Arrays: lines/at [n] (step number), lines/distance, batch and full [n, points] (losses; shorter rows are padded with
    NaN), lines/norm [n] (of the direction), and for both losses loss0, loss_mu and slope, such as lines/batch_slope
    [n].
    """
    measure = Measure.model_validate(config.measure)

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        return None if step % measure.every else measured_line(trainer, measure)

    return train_and_measure(config, record, measured)


def measured_line(trainer: Trainer, measure: Measure) -> dict[str, Any]:
    """Both losses along the direction of the next update, on a grid and at mu, with slopes and the direction's norm."""
    params, batch_loss = list(trainer.model.parameters()), BatchLoss()
    gradients: list[Tensor] = []
    with preserved(trainer.model):
        full_loss = mean_loss(trainer, trainer.first_epoch)
        loss0 = batch_loss.measure(
            trainer.loss_fn, lambda loss: gradients.extend(torch.autograd.grad(loss, params))
        ).item()
        direction = update(trainer, params, gradients)
        line = Line(params, direction)
        norm = float(line.norm)
        found = {
            "norm": norm,
            "batch_loss0": loss0,
            "batch_slope": dot(gradients, direction) / norm if norm > 0 else 0.0,
            "batch_loss_mu": line.losses(batch_loss.reevaluate, [measure.mu]).item(),
            "full_loss0": full_loss().item(),
            "full_slope": full_loss.slope(direction, norm),
            "full_loss_mu": line.losses(full_loss, [measure.mu]).item(),
        }
        grid = on_grid(
            line, (batch_loss.reevaluate, full_loss), measure, trainer.config.settings["lr"] * norm
        )
        line.restore()
    return found | grid


def update(trainer: Trainer, params: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """The direction of SGD's next update, -(momentum m + g)."""
    momentum, state = trainer.config.settings["momentum"], trainer.optimizer.optimizer.state
    buffers = [state[param].get("momentum_buffer") if param in state else None for param in params]
    return [
        -gradient if buffer is None else -(momentum * buffer + gradient)
        for gradient, buffer in zip(gradients, buffers, strict=True)
    ]


def on_grid(
    line: Line, closures: Sequence[Callable[[], Tensor]], measure: Measure, farthest: float
) -> dict[str, list[float]]:
    """Losses of the batch and the full batch at distances k * spacing.

    The interval starts as [-reach, reach]. A side is widened by `reach` as long as either loss has its minimum at that
    end, or `farthest` lies beyond it, but at most `WIDENINGS` times.
    """
    half = _half(measure)
    low, high, widenings = -half, half, 0
    known: dict[int, list[float]] = {}
    while True:
        fresh = [place for place in range(low, high + 1) if place not in known]
        distances = [place * measure.spacing for place in fresh]
        columns = [line.losses(closure, distances).double().tolist() for closure in closures]
        known.update(zip(fresh, map(list, zip(*columns, strict=True)), strict=True))
        places = sorted(known)
        lowest = [places[index] for index in _lowest([known[place] for place in places])]
        behind, ahead = low in lowest, high in lowest or farthest > high * measure.spacing
        if not (behind or ahead) or widenings == WIDENINGS:
            break
        low, high, widenings = low - half * behind, high + half * ahead, widenings + 1
    batch, full = zip(*(known[place] for place in places), strict=True)
    distances = [place * measure.spacing for place in places]
    return {"distance": distances, "batch": list(batch), "full": list(full)}


def _half(measure: Measure) -> int:
    """Points of the grid on each side of 0, before it is widened."""
    return max(1, round(measure.reach / measure.spacing))


def _lowest(rows: list[list[float]]) -> list[int]:
    """Index of the smallest number in each column, ignoring NaN."""
    return np.argmin(np.nan_to_num(np.asarray(rows), nan=math.inf), axis=0).tolist()


STUDY = Study(Settings, plan, run, cost=passes)
