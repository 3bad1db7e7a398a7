"""Does PAL's learning rate decrease only if the network can fit its data? (our question)

Networks of several widths are trained with PAL on several numbers of images, so that some can interpolate and others
cannot. Each training records the learning rate, step / ||g||, of every step. On some lines late in the training, along
-g/||g||, it also records PAL's step and the exact minima of the batch loss and of the full-batch loss: how far do batch
minima overshoot where no weights minimise all of them? The measurements do not affect the training.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.batch_line import batch_line
from experiments.training.config import RunConfig, Strict
from experiments.training.full_batch import SEARCH_PASSES, mean_loss, minimum, whole_epochs
from experiments.training.measure import train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer
from pal.parabola import minimise

Count = Annotated[int, Field(ge=1)]


class Measure(Strict):
    """Which lines are searched: one every `every` of the last `last` steps."""

    last: Count
    every: Count


class Settings(Trainings):
    """Section `capacity` of a profile.

    Attributes:
        problems: Names of the problems, such as one per width.
        batch_size: Examples per step, the same for all.
        train_sizes: Numbers of training images, multiples of the batch size.
        epochs: Length of each training in epochs, so that every image counts equally often; instead of `steps`.
        settings: Hyper-parameters of PAL; beta stays 0, so that lines follow the negative gradient.
        measure: Which lines are searched.
    """

    batch_size: Count
    train_sizes: Annotated[list[Count], Field(min_length=1)]
    epochs: Count | None = None
    settings: dict[str, float] = Field(default_factory=dict)
    measure: Measure

    def length(self, images: int) -> dict[str, int]:
        """The steps of a training on some images, if its length is given in epochs."""
        return {} if self.epochs is None else {"steps": self.epochs * images // self.batch_size}


def plan(settings: Settings) -> list[RunConfig]:
    """One training with PAL per problem, number of images and seed.

    Raises:
        UserError: If an epoch is not a whole number of batches.
    """
    pal = {"settings": settings.settings | {"beta": 0.0}, "batch_size": settings.batch_size}
    pal |= {"optimizer": "pal", "measure": settings.measure.model_dump()}
    sizes = [{"train_size": images} | settings.length(images) for images in settings.train_sizes]
    return whole_epochs(settings.runs("capacity", sizes, **pal))


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with PAL and search some lines late in the training; each array of the trace has one row per line.

    Arrays [n]: lines/at (step number); distances lines/step (PAL's), lines/batch and lines/full (minima of both
    losses); lines/full_loss0 and lines/full_loss, the full-batch loss at the weights and at its minimum.

    Returns:
        What `train_and_measure` returns, and the number of weights of the network.
    """
    measure = Measure.model_validate(config.measure)

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        late = step - (config.steps - measure.last)
        return None if late < 0 or late % measure.every else searched_line(trainer)

    weights = sum(param.numel() for param in config.resolved_problem.build(config.seed).parameters())
    return train_and_measure(config, record, measured) | {"weights": weights}


def passes(config: RunConfig) -> float:
    """Forward passes per measurement: both searches, and losses and slopes at 0, a backward pass counting as two."""
    return (SEARCH_PASSES + 4) * (1 + config.resolved_problem.examples[0] / config.batch_size)


def searched_line(trainer: Trainer) -> dict[str, Any]:
    """PAL's step and the minima of batch loss and full-batch loss on the line of the current batch."""
    settings = trainer.config.settings
    mu = settings["mu"]
    with batch_line(trainer) as line:
        full = mean_loss(trainer, trainer.first_epoch)
        (loss_mu,) = line.losses([mu])
        step = minimise(line.loss0, loss_mu, line.slope, mu, settings["alpha"], settings["s_max"]).step
        batch = minimum(lambda distance: line.losses([distance])[0], line.loss0, line.slope, mu)
        full0 = full().item()
        slope = full.slope([-each for each in line.gradient], -line.slope)
        best = minimum(lambda distance: line.line.losses(full, [distance]).item(), full0, slope, mu)
    return {
        "step": float(step),
        "batch": batch.distance,
        "full": best.distance,
        "full_loss0": full0,
        "full_loss": best.loss,
    }


STUDY = Study(Settings, plan, run, cost=passes)
