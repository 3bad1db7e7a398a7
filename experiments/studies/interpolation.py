"""PAL with networks that can or cannot fit all data exactly (section 7 of the paper; problems of SLS).

SLS relies on interpolation: weights that minimise the loss of every batch. In the matrix factorisation of SLS, the rank
of the network decides whether such weights exist: the target has rank 6, so networks of rank 1 and 4 cannot
interpolate, while those of rank 10 or without hidden layer can. Its kernel problem (mushrooms) is separable.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Choice, Selecting, Study
from experiments.training.config import RunConfig
from experiments.training.loop import train


class Settings(Selecting):
    """Section `interpolation` of a profile.

    Attributes:
        optimizers: Hyper-parameters to try for each.
    """

    optimizers: Annotated[
        dict[str, Annotated[list[dict[str, Any]], Field(min_length=1)]], Field(min_length=1)
    ]


def plan(settings: Settings) -> list[RunConfig]:
    """Each optimizer with each of its hyper-parameters, on each problem with each seed."""
    kinds = [
        {"optimizer": name, "settings": values}
        for name, several in settings.optimizers.items()
        for values in several
    ]
    return settings.first_runs("interpolation", kinds)


def further(settings: Settings, choice: Choice) -> list[RunConfig]:
    """Each optimizer with its selected hyper-parameters and fresh seeds, if other seeds selected them."""
    return settings.fresh_runs(
        "interpolation", choice, {name: {"optimizer": name} for name in settings.optimizers}
    )


STUDY = Study(Settings, plan, train, further)
