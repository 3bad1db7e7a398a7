"""Batch losses along PAL's direction: their shape, and how well PAL's parabola fits them (paper, figure 1).

At many steps of a training with PAL, the loss of the current batch is measured on a grid along -g/||g||. With R the
larger of PAL's step and mu, the grid covers [-R, 3R]: both sides of the weights, and beyond the minimum. The same line
is also measured on the window [-0.2, 0.2] of the published fits, and on [-R, 10R].
The measurements do not affect the training.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.batch_line import batch_line
from experiments.training.config import RunConfig, Strict
from experiments.training.measure import train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer
from pal.parabola import minimise

BEHIND, AHEAD = 1.0, 3.0
"""The grid reaches from -R to 3R."""
WINDOW = 0.2
"""Half the width of the window of the published fits, a distance (arXiv:2103.17132, supplement)."""
WIDE = 10.0
"""The wide view reaches from -R to 10R."""


class Measure(Strict):
    """Which lines are measured, and how finely.

    Attributes:
        first: Number of first steps that are all measured, as shapes change quickly there.
        every: Steps between measurements after these.
        points: Evenly spaced points of the grid; the window and the wide view have half as many.
    """

    first: Annotated[int, Field(ge=0)]
    every: Annotated[int, Field(ge=1)]
    points: Annotated[int, Field(ge=9)]


class Settings(Trainings):
    """Section `lines` of a profile.

    Attributes:
        settings: Hyper-parameters of PAL; beta stays 0, so that lines follow the negative gradient.
        measure: Which lines are measured.
    """

    settings: dict[str, float] = Field(default_factory=dict)
    measure: Measure


def plan(settings: Settings) -> list[RunConfig]:
    """One training with PAL per problem and seed."""
    kind = {"optimizer": "pal", "settings": settings.settings | {"beta": 0.0}}
    return settings.runs("lines", [kind], measure=settings.measure.model_dump())


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with PAL and measure lines during training; each array of the trace has one row per line.

    Arrays: lines/at [n] (step number); lines/distance and lines/loss [n, points]; the same for the window and the wide
    view [n, points / 2], such as lines/window_loss; and lines/mu, loss0, loss_mu, slope, curvature, step and case [n]
    from PAL's record.
    """
    measure = Measure.model_validate(config.measure)

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        due = step < measure.first or step % measure.every == 0
        return measured_line(trainer, measure.points) if due else None

    return train_and_measure(config, record, measured)


def measured_line(trainer: Trainer, points: int) -> dict[str, Any]:
    """The loss of the current batch along -g/||g||, and PAL's three numbers and step."""
    settings = trainer.config.settings
    mu = settings["mu"]
    with batch_line(trainer) as line:
        (loss_mu,) = line.losses([mu])
        found = minimise(line.loss0, loss_mu, line.slope, mu, settings["alpha"], settings["s_max"])
        reach = max(float(found.step), mu)
        views = {
            "": np.linspace(-BEHIND * reach, AHEAD * reach, points),
            "window_": np.linspace(-WINDOW, WINDOW, points // 2),
            "wide_": np.linspace(-BEHIND * reach, WIDE * reach, points // 2),
        }
        losses = {f"{view}loss": line.losses(distances.tolist()) for view, distances in views.items()}
    distances = {f"{view}distance": distances.tolist() for view, distances in views.items()}
    return {
        **distances,
        **losses,
        "mu": mu,
        "loss0": line.loss0,
        "loss_mu": loss_mu,
        "slope": line.slope,
        "curvature": float(found.curvature),
        "step": float(found.step),
        "case": int(found.case),
    }


STUDY = Study(Settings, plan, run)
