"""Batch losses along PAL's direction: their shape, and how well PAL's parabola fits them (paper, figure 1).

At the first steps of a training with PAL and at evenly spaced ones, the loss of the current batch is measured on a grid
along -g/||g||. With R the larger of PAL's step and mu, the grid covers [-R, 3R]: both sides of the weights, and beyond
the minimum. The same line is also measured on the window [-0.2, 0.2] of the published fits, on [-R, 10R], and on
[0, 2m], the neighbourhood in which convexity is judged: m is the first local minimum, or s* if there is none before it.
s* is the minimum that an exact search finds. The measurements do not affect the training.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from experiments.studies.base import Study, Trainings, evenly_spaced
from experiments.training.batch_line import batch_line
from experiments.training.config import RunConfig, Strict
from experiments.training.full_batch import SEARCH_PASSES, minimum
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
        even: Number of lines that are spread evenly over the whole training.
        points: Evenly spaced points of the grid and of the neighbourhood; the window and the wide view have half as
            many.
    """

    first: Annotated[int, Field(ge=0)]
    even: Annotated[int, Field(ge=1)]
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

    Arrays: lines/at [n] (step number) and lines/even [n] (whether the line is one of those spread over the training);
    lines/distance and lines/loss [n, points]; the same for the neighbourhood [n, points], lines/near_loss, and for the
    window and the wide view [n, points / 2]; lines/exact, loss_exact and loss_step [n], s* and the losses there and at
    PAL's step; and lines/mu, loss0, loss_mu, slope, curvature, step and case [n] from PAL's record.
    """
    measure = Measure.model_validate(config.measure)
    even = evenly_spaced(measure.even, config.steps)

    def measured(step: int, trainer: Trainer) -> dict[str, Any] | None:
        if step >= measure.first and step not in even:
            return None
        return {"even": int(step in even)} | measured_line(trainer, measure.points)

    return train_and_measure(config, record, measured)


def passes(config: RunConfig) -> float:
    """Forward passes per measurement: the views, the neighbourhood twice, the search, and loss and slope at 0."""
    points = Measure.model_validate(config.measure).points
    return 3 * points + 2 * (points // 2) + SEARCH_PASSES + 5


def measured_line(trainer: Trainer, points: int) -> dict[str, Any]:
    """The loss of the current batch along -g/||g||, its minimum, and PAL's three numbers and step."""
    settings = trainer.config.settings
    mu = settings["mu"]
    with batch_line(trainer) as line:
        (loss_mu,) = line.losses([mu])
        found = minimise(line.loss0, loss_mu, line.slope, mu, settings["alpha"], settings["s_max"])
        exact = minimum(lambda distance: line.losses([distance])[0], line.loss0, line.slope, mu)
        (loss_step,) = line.losses([float(found.step)])
        reach = max(float(found.step), mu)
        views = {
            "": np.linspace(-BEHIND * reach, AHEAD * reach, points),
            "window_": np.linspace(-WINDOW, WINDOW, points // 2),
            "wide_": np.linspace(-BEHIND * reach, WIDE * reach, points // 2),
            "near_": neighbourhood(line.losses, exact.distance, points),
        }
        losses = {f"{view}loss": line.losses(distances.tolist()) for view, distances in views.items()}
    distances = {f"{view}distance": distances.tolist() for view, distances in views.items()}
    return {
        **distances,
        **losses,
        "exact": exact.distance,
        "loss_exact": exact.loss,
        "loss_step": loss_step,
        "mu": mu,
        "loss0": line.loss0,
        "loss_mu": loss_mu,
        "slope": line.slope,
        "curvature": float(found.curvature),
        "step": float(found.step),
        "case": int(found.case),
    }


def neighbourhood(losses: Callable[[list[float]], list[float]], exact: float, points: int) -> np.ndarray:
    """Evenly spaced distances on [0, 2m], with m the first local minimum, or the exact one if none comes before it.

    Args:
        losses: Returns the losses at some distances.
        exact: Distance of the exact minimum; 0 if the line does not descend, which then has no neighbourhood (NaN).
        points: Number of distances.
    """
    if not exact > 0:
        return np.full(points, np.nan)
    distances = np.linspace(0, 2 * exact, points)
    first = first_minimum(np.asarray(losses(distances.tolist())))
    nearest = exact if first is None else min(exact, float(distances[first]))
    return np.linspace(0, 2 * nearest, points)


def first_minimum(losses: np.ndarray) -> int | None:
    """Index of the first point that is lower than both neighbours by more than rounding; None if there is none."""
    tolerance = 8 * np.finfo(np.float32).eps * np.nanmax(np.abs(losses))
    lower = (losses[:-2] - losses[1:-1] > tolerance) & (losses[2:] - losses[1:-1] > tolerance)
    return int(np.argmax(lower)) + 1 if lower.any() else None


STUDY = Study(Settings, plan, run, cost=passes)
