"""The optimizer benchmark: every optimizer with every setting of its grid, on the same weights and batches."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.studies.base import Choice, Study, Trainings
from experiments.training.config import RunConfig, Strict
from experiments.training.loop import train


class Method(Strict):
    """One optimizer of the comparison.

    Attributes:
        optimizer: Name in `experiments.optimizers`; the method's own name if missing.
        schedule: How its learning rate changes.
        grid: Values of settings; every combination is a setting of its own. What is missing keeps its default.
    """

    optimizer: str | None = None
    schedule: Literal["none", "step", "cosine"] = "none"
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)

    def settings(self) -> list[dict[str, Any]]:
        """Every combination of the grid."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]

    def kind(self, name: str) -> dict[str, Any]:
        """Fields of its runs."""
        return {"method": name, "optimizer": self.optimizer or name, "schedule": self.schedule}


class Confirmation(Trainings):
    """Further problems, with one setting of each method: what the grid gave on the first decides which."""


class Settings(Trainings):
    """Section `benchmark` of a profile.

    Attributes:
        optimizers: The methods by the name that tables and figures show.
        confirmation: Further problems, with one setting of each method.
    """

    optimizers: Annotated[dict[str, Method], Field(min_length=1)]
    confirmation: Confirmation | None = None


def plan(settings: Settings) -> list[RunConfig]:
    """Every method with every setting and seed on every problem."""
    kinds = [
        method.kind(name) | {"settings": values}
        for name, method in settings.optimizers.items()
        for values in method.settings()
    ]
    return settings.runs("benchmark", kinds)


def further(settings: Settings, choice: Choice) -> list[RunConfig]:
    """The confirmation: every method with its setting in `choice`; nothing if the section has none."""
    if settings.confirmation is None:
        return []
    kinds = [settings.optimizers[name].kind(name) | {"settings": values} for name, values in choice.items()]
    return settings.confirmation.runs("benchmark", kinds)


STUDY = Study(Settings, plan, train, further)
