"""PAL where the network can fit all data exactly and where it cannot (section 7 of the paper; problems of SLS).

SLS rests on interpolation: one set of weights that minimises the loss of every batch. On SLS's matrix factorisation
the rank of the network decides whether there is one: the target has rank 6, so networks of rank 1 and 4 cannot
interpolate, those of rank 10 or without hidden layer can. Its kernel problem (mushrooms) is separable and can.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig
from experiments.training.loop import train


class Settings(Trainings):
    """Section `interpolation` of a profile.

    Attributes:
        optimizers: Settings to try of each.
    """

    optimizers: Annotated[
        dict[str, Annotated[list[dict[str, Any]], Field(min_length=1)]], Field(min_length=1)
    ]


def plan(settings: Settings) -> list[RunConfig]:
    """Every optimizer with every setting and seed on every problem."""
    kinds = [
        {"optimizer": name, "settings": values}
        for name, several in settings.optimizers.items()
        for values in several
    ]
    return settings.runs("interpolation", kinds)


STUDY = Study(Settings, plan, train)
