"""What is it worth to know the length of a training beforehand? (abstract: PAL suits where schedules are unknown)

A schedule is made for a length, and drops the learning rate at half and three quarters of it. Here SGD is trained with
several rates and schedules made for several lengths, and PAL, which needs no schedule, once; the curves show how far
each has come wherever the training might end.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig
from experiments.training.loop import train


class Settings(Trainings):
    """Section `horizon` of a profile.

    Attributes:
        pal: Hyper-parameters of PAL.
        rates: Learning rates of SGD.
        horizons: Lengths for which SGD's schedules are made, as fractions of the training.
    """

    pal: dict[str, float] = Field(default_factory=dict)
    rates: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    horizons: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """PAL, and SGD with each rate and schedule, on each problem with each seed; sgd-25 has a schedule for a quarter."""
    kinds: list[dict[str, Any]] = [{"optimizer": "pal", "settings": settings.pal}]
    kinds += [
        {
            "method": f"sgd-{100 * horizon:.3g}",
            "optimizer": "sgd",
            "settings": {"lr": rate},
            "schedule": "step",
        }
        for horizon in settings.horizons
        for rate in settings.rates
    ]
    parts = {f"sgd-{100 * horizon:.3g}": horizon for horizon in settings.horizons}
    return [
        config.model_copy(update={"schedule_steps": max(1, round(parts[config.method] * config.steps))})
        if config.method in parts
        else config
        for config in settings.runs("horizon", kinds)
    ]


STUDY = Study(Settings, plan, train)
