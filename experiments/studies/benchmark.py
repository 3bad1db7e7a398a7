"""The optimizer benchmark: every optimizer over its grid, with the same weights and batches for all."""

import itertools
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.studies.base import Choice, Selecting, Study
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


class Settings(Selecting):
    """Section of a profile for a comparison of optimizers.

    Attributes:
        optimizers: The methods, by the name in tables and figures.
    """

    optimizers: Annotated[dict[str, Method], Field(min_length=1)]


def plan(study: str, settings: Settings) -> list[RunConfig]:
    """Each method over its grid, on each problem with each seed."""
    kinds = [
        method.kind(name) | {"settings": values}
        for name, method in settings.optimizers.items()
        for values in method.settings()
    ]
    return settings.first_runs(study, kinds)


def further(study: str, settings: Settings, choice: Choice) -> list[RunConfig]:
    """Each method with its selected hyper-parameters and fresh seeds, if other seeds selected them."""
    methods = {name: method.kind(name) for name, method in settings.optimizers.items()}
    return settings.fresh_runs(study, choice, methods)


def comparison(study: str) -> Study[Settings]:
    """A comparison of optimizers, whose runs belong to `study`."""
    return Study(Settings, partial(plan, study), train, partial(further, study))


STUDY = comparison("benchmark")
