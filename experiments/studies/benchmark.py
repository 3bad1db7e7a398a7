"""The optimizer benchmark: every optimizer with every setting of its grid, on the same weights and batches."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.config import RunConfig, Strict, resolve
from experiments.plans import Trainings
from experiments.training import Record, train


class Competitor(Strict):
    """One optimizer of the comparison.

    Attributes:
        optimizer: Name in `experiments.optimizers`; the competitor's own name if missing.
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


class Confirmation(Trainings):
    """Further problems, with one setting of each competitor: what the grid gave on the first decides which."""


class Settings(Trainings):
    """Section `benchmark` of a profile.

    Attributes:
        optimizers: The competitors by the name that tables and figures show.
        confirmation: Further problems, with one setting of each competitor.
    """

    optimizers: Annotated[dict[str, Competitor], Field(min_length=1)]
    confirmation: Confirmation | None = None


def plan(settings: Settings) -> list[RunConfig]:
    """Every competitor with every setting and seed on every problem."""
    grids = {name: competitor.settings() for name, competitor in settings.optimizers.items()}
    return _runs(settings, grids, settings.optimizers)


def further(settings: Settings, choice: dict[str, dict[str, Any]]) -> list[RunConfig]:
    """The confirmation: every competitor with its setting in `choice`; nothing if the section has none."""
    if settings.confirmation is None:
        return []
    grids = {name: [values] for name, values in choice.items()}
    return _runs(settings.confirmation, grids, settings.optimizers)


def _runs(
    settings: Settings | Confirmation,
    grids: dict[str, list[dict[str, Any]]],
    competitors: dict[str, Competitor],
) -> list[RunConfig]:
    return [
        resolve(
            "benchmark",
            problem=problem,
            entry=name,
            optimizer=competitors[name].optimizer or name,
            schedule=competitors[name].schedule,
            settings=values,
            seed=seed,
            **settings.lengths(),
        )
        for problem in settings.problems
        for name, grid in grids.items()
        for values in grid
        for seed in settings.seeds
    ]


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training."""
    return train(config, record)
