"""Does PAL step to the minimum of its line? A sweep over alpha (the paper's update step adaptation).

At some steps of a training with PAL, the line of the current batch is searched exactly. Recorded are PAL's step s and
the minimum s*; and for each of the alphas, whatever the training's own, the loss after the step that it would give, and
the angle between the gradients of the batch before and after it: 90 degrees at the minimum, less if the step is too
short, more if it is too long. The measurements do not affect the training.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.batch_line import batch_line
from experiments.training.config import RunConfig, Strict
from experiments.training.full_batch import LIMIT, SEARCH_PASSES
from experiments.training.measure import train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer
from pal.parabola import minimise
from pal.search import search


class Measure(Strict):
    """Which lines are searched: one every `every` steps, from the first; and the alphas that are tried on each."""

    every: Annotated[int, Field(ge=1)]
    alphas: list[float] = Field(default_factory=list)


class Settings(Trainings):
    """Section `adaptation` of a profile.

    Attributes:
        alphas: Values of alpha; 1 steps to the minimum of the parabola.
        settings: Other hyper-parameters of PAL; beta stays 0, so that lines follow the negative gradient.
        measure: Which lines are searched.
    """

    alphas: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    settings: dict[str, float] = Field(default_factory=dict)
    measure: Measure


def plan(settings: Settings) -> list[RunConfig]:
    """One training with PAL per problem, alpha and seed."""
    kinds = [{"settings": settings.settings | {"alpha": alpha, "beta": 0.0}} for alpha in settings.alphas]
    measure = settings.measure.model_dump() | {"alphas": settings.alphas}
    return settings.runs("adaptation", kinds, optimizer="pal", measure=measure)


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train with PAL and search some lines exactly; each array of the trace has one row per line.

    Arrays [n]: lines/at (step number), lines/step (PAL's), lines/exact (the minimum), lines/loss0, loss_step and
    loss_exact there, lines/angle (degrees, after PAL's step), and lines/case. Arrays [n, alphas]: lines/alpha,
    alpha_step, alpha_loss and alpha_angle.
    """
    measure = Measure.model_validate(config.measure)
    alphas = measure.alphas or [config.settings["alpha"]]
    return train_and_measure(
        config, record, lambda step, trainer: None if step % measure.every else searched_line(trainer, alphas)
    )


def passes(config: RunConfig) -> float:
    """Forward passes per measurement (a backward pass counts as two): the search, and loss and gradient after steps."""
    return SEARCH_PASSES + 5 + 4 * (1 + len(Measure.model_validate(config.measure).alphas))


def searched_line(trainer: Trainer, alphas: list[float]) -> dict[str, Any]:
    """PAL's step on the line of the current batch, the exact minimum, and losses and angles after steps."""
    settings = trainer.config.settings
    mu = settings["mu"]
    with batch_line(trainer) as line:
        (loss_mu,) = line.losses([mu])
        found = minimise(line.loss0, loss_mu, line.slope, mu, settings["alpha"], settings["s_max"])
        step = float(found.step)
        exact = search(lambda distance: line.losses([distance])[0], line.loss0, line.slope, mu, LIMIT)
        (loss_step,) = line.losses([step])
        angle = line.angle(step)
        steps = [
            float(minimise(line.loss0, loss_mu, line.slope, mu, alpha, settings["s_max"]).step)
            for alpha in alphas
        ]
        others = {"alpha_loss": line.losses(steps), "alpha_angle": [line.angle(each) for each in steps]}
    return {
        "alpha": list(alphas),
        "alpha_step": steps,
        **others,
        "step": step,
        "exact": exact.distance,
        "loss0": line.loss0,
        "loss_step": loss_step,
        "loss_exact": exact.loss,
        "angle": angle,
        "case": int(found.case),
    }


STUDY = Study(Settings, plan, run, cost=passes)
