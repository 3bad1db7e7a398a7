"""The optimizer benchmark: every optimizer over its grid, with the same weights and batches for all."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.studies.base import Choice, Study, Trainings
from experiments.training.config import RunConfig, Strict
from experiments.training.loop import train


class Method(Strict):
    """One method of the comparison.

    Attributes:
        optimizer: Name in `experiments.optimizers`; by default that of the method.
        schedule: Schedule of the learning rate.
        grid: Values of hyper-parameters; every combination is trained, with defaults for all others.
    """

    optimizer: str | None = None
    schedule: Literal["none", "step", "cosine"] = "none"
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)

    def settings(self) -> list[dict[str, Any]]:
        """All combinations of the grid."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]

    def kind(self, name: str) -> dict[str, Any]:
        """Fields of its runs, for `config.resolve`."""
        return {"method": name, "optimizer": self.optimizer or name, "schedule": self.schedule}


class Confirmation(Trainings):
    """Further problems, on which each method is trained with the hyper-parameters selected on the first ones."""


class Settings(Trainings):
    """Section `benchmark` of a profile.

    Attributes:
        optimizers: The methods, by the name in tables and figures.
        confirmation: Further problems, with the selected hyper-parameters of each method.
    """

    optimizers: Annotated[dict[str, Method], Field(min_length=1)]
    confirmation: Confirmation | None = None


def plan(settings: Settings) -> list[RunConfig]:
    """Each method over its grid, on each problem with each seed."""
    kinds = [
        method.kind(name) | {"settings": values}
        for name, method in settings.optimizers.items()
        for values in method.settings()
    ]
    return settings.runs("benchmark", kinds)


def further(settings: Settings, choice: Choice) -> list[RunConfig]:
    """The confirmation, if there is one: each method with its hyper-parameters in `choice`."""
    if settings.confirmation is None:
        return []
    kinds = [settings.optimizers[name].kind(name) | {"settings": values} for name, values in choice.items()]
    return settings.confirmation.runs("benchmark", kinds)


STUDY = Study(Settings, plan, train, further)
