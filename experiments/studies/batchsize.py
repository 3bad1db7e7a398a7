"""Batch sizes, judged by the decrease of the full-batch loss (arXiv:2103.17132, supplement, figures 9 and 10).

There, batches smaller than 128 were simulated by the steepest examples of a batch of 128; here they are drawn. At many
steps of one SGD training, a fresh batch of each size B gives a gradient g and the line theta - s g/||g|| from the
current weights. On this line, four points are compared by the decrease of the full-batch loss: its minimum (the
optimum), the minimum of the batch loss, PAL's step on the batch, and SGD's step. All sizes start from the same weights,
and differ in the batch only.

The full-batch loss (`training.full_batch`) is the same function of all examples as the batch loss is of a few, with L2
term, augmentation, and batch norm by batch statistics. The measurements do not affect the training.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from experiments.common.errors import UserError
from experiments.data import Loader
from experiments.studies.base import Study, Subset
from experiments.studies.strategies import RATES, S_MAX
from experiments.training.batch_line import dot
from experiments.training.config import RunConfig, Strict
from experiments.training.full_batch import SEARCH_PASSES, Batch, MeanLoss, mean_loss, minimum, whole_epochs
from experiments.training.measure import preserved, train_and_measure
from experiments.training.record import Record
from experiments.training.seeds import split
from experiments.training.trainer import Trainer
from pal.line import Line
from pal.parabola import minimise

Positive = Annotated[float, Field(gt=0)]


class Measure(Strict):
    """Which lines are measured.

    Attributes:
        every: Steps between measurements; the first step is measured.
        sizes: Batch sizes, in examples.
        mu: mu of PAL, a distance.
    """

    every: Annotated[int, Field(ge=1)]
    sizes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2)]
    mu: Positive


class Settings(Subset):
    """Section `batchsize` of a profile.

    Attributes:
        lr: Constant learning rate of the SGD training.
        measure: Which lines are measured.
    """

    lr: Positive
    measure: Measure


def plan(settings: Settings) -> list[RunConfig]:
    """One SGD training per problem and seed.

    Raises:
        UserError: If an epoch is not a whole number of batches, or a size exceeds the number of examples.
    """
    sgd = {"optimizer": "sgd-plain", "settings": {"lr": settings.lr}}
    configs = settings.runs("batchsize", [sgd], measure=settings.measure.model_dump(), **settings.size())
    for config in whole_epochs(configs):
        examples, largest = config.resolved_problem.examples[0], max(settings.measure.sizes)
        if largest > examples:
            raise UserError(
                f"measure.sizes has {largest}, but {config.problem} has {examples} training examples"
            )
    return configs


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with SGD and measure lines during training; each array of the trace has one row per measured step.

    Arrays: lines/at [n] (step number); [n, sizes] lines/size, lines/norm (||g||), lines/slope (of the full-batch loss),
    and for each strategy lines/<strategy>_step (distance) and lines/<strategy>_improvement (decrease of the full-batch
    loss).
    """
    measure = Measure.model_validate(config.measure)
    loaders: list[Loader] = []

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        if step % measure.every:
            return None
        loaders[:] = loaders or [loader(trainer, size) for size in measure.sizes]
        return measured_lines(trainer, [each.batch(step) for each in loaders], measure.mu)

    return train_and_measure(config, record, measured)


def passes(config: RunConfig) -> float:
    """Forward passes per measurement, a backward pass counting as two.

    For each size a search on the full-batch loss and one on the batch, and the full-batch loss of each strategy.
    """
    sizes = Measure.model_validate(config.measure).sizes
    epoch = config.resolved_problem.examples[0] / config.batch_size
    on_batches = (SEARCH_PASSES + 5) * sum(sizes) / config.batch_size
    return 4 * epoch + len(sizes) * (SEARCH_PASSES + 2 + len(RATES)) * epoch + on_batches


def loader(trainer: Trainer, size: int) -> Loader:
    """Batches of one size in an independent order, so that the training has not just seen them."""
    problem, seeds = replace(trainer.problem, batch_size=size), split(trainer.config.seed)
    return problem.loader(trainer.splits.train, seeds.noise, seeds.initialisation)


def measured_lines(trainer: Trainer, batches: Sequence[Batch], mu: float) -> dict[str, Any]:
    """Line and strategies for each batch size, as lists with one number per size."""
    with preserved(trainer.model):
        full = mean_loss(trainer, trainer.first_epoch)
        loss0, gradient = full().item(), full.gradient()
        lines = [
            measured_line(trainer, mean_loss(trainer, [batch]), full, loss0, gradient, mu)
            for batch in batches
        ]
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    return {"size": [len(targets) for _, targets in batches]} | columns


def measured_line(
    trainer: Trainer,
    batch: MeanLoss,
    full: MeanLoss,
    full0: float,
    full_gradient: Sequence[Tensor],
    mu: float,
) -> dict[str, float]:
    """Steps of the strategies on the line of one batch, and the decrease of the full-batch loss for each.

    Args:
        trainer: The training, whose weights are the start of the line.
        batch: The batch loss, which defines the direction -g/||g||.
        full: The full-batch loss L.
        full0: L(0).
        full_gradient: Gradient of L at the weights.
        mu: mu of PAL, a distance.
    """
    direction = [-each for each in batch.gradient()]
    line = Line(trainer.model.parameters(), direction)
    norm = float(line.norm)
    slope = dot(full_gradient, direction) / norm if norm > 0 else 0.0
    try:
        optimum = minimum(lambda distance: line.losses(full, [distance]).item(), full0, slope, mu)
        others = batch_steps(batch, line, mu)
        losses = line.losses(full, others.values()).tolist()
    finally:
        line.restore()
    steps = {"optimum": optimum.distance} | others
    improvements = [full0 - loss for loss in (optimum.loss, *losses)]
    found = {"norm": norm, "slope": slope}
    for (name, step), improvement in zip(steps.items(), improvements, strict=True):
        found |= {f"{name}_step": step, f"{name}_improvement": improvement}
    return found


def batch_steps(batch: MeanLoss, line: Line, mu: float) -> dict[str, float]:
    """Steps of the strategies that use the batch alone, as distances along its line."""
    norm = float(line.norm)
    loss0, loss_mu = line.losses(batch, [0.0, mu]).tolist()
    return {
        "pal": float(minimise(loss0, loss_mu, -norm, mu, s_max=S_MAX).step),
        "exact": minimum(lambda distance: line.losses(batch, [distance]).item(), loss0, -norm, mu).distance,
    } | {name: rate * norm for name, rate in RATES.items()}


STUDY = Study(Settings, plan, run, cost=passes)
