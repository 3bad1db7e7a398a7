"""Batch losses along PAL's direction: what lines look like, and what PAL's parabola makes of them (paper, figure 1).

At many steps of a PAL training the loss of the step's batch is measured on a grid along the unit direction -g/||g||.
With R the larger of PAL's step and mu, the grid covers [-R, 3R]: both sides of the weights, and beyond the minimum. Two
more views of the same line: the window [-0.2, 0.2] of the published fits, and [-R, 10R].
Measuring changes nothing: the training goes on as if it had not been looked at.
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
"""Half the width of the window of the published fits, distance (arXiv:2103.17132, supplement)."""
WIDE = 10.0
"""The wide view reaches from -R to 10R."""


class Measure(Strict):
    """Which lines are measured, and how finely.

    Attributes:
        first: The first so many steps, where shapes change quickly.
        every: And from there every so many.
        points: Of the grid, evenly spaced; the window and the wide view have half as many.
    """

    first: Annotated[int, Field(ge=0)]
    every: Annotated[int, Field(ge=1)]
    points: Annotated[int, Field(ge=9)]


class Settings(Trainings):
    """Section `lines` of a profile.

    Attributes:
        settings: Of PAL; beta stays 0, so that the line is that of the negative gradient.
        measure: Which lines.
    """

    settings: dict[str, float] = Field(default_factory=dict)
    measure: Measure


def plan(settings: Settings) -> list[RunConfig]:
    """One PAL training per problem and seed."""
    kind = {"optimizer": "pal", "settings": settings.settings | {"beta": 0.0}}
    return settings.runs("lines", [kind], measure=settings.measure.model_dump())


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with PAL and measure lines on the way; the trace gets one row of each array per line.

    Arrays: lines/at [n] (step number); lines/distance and lines/loss [n, points], the same of the window and of the
    wide view [n, points / 2], such as lines/window_loss; and lines/mu, loss0, loss_mu, slope, curvature, step and case
    [n] as PAL sees them.
    """
    measure = Measure.model_validate(config.measure)

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        due = step < measure.first or step % measure.every == 0
        return measured_line(trainer, measure.points) if due else None

    return train_and_measure(config, record, measured)


def measured_line(trainer: Trainer, points: int) -> dict[str, Any]:
    """The loss of the present batch along -g/||g||, and PAL's three numbers and step."""
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
