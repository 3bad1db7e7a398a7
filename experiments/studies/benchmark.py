"""The optimizer benchmark: every optimizer with every setting of its grid, on the same weights and batches."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.config import RunConfig, Strict, resolve
from experiments.training import Record, train

Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[int], Field(min_length=1)]


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


class Settings(Strict):
    """Section `benchmark` of a profile.

    Attributes:
        problems: Data sets and networks.
        steps: Length of every run; the problem's own if missing.
        evaluate_every: Steps between evaluations; an epoch if missing.
        seeds: Every setting is run once with each.
        optimizers: The competitors by the name that tables and figures show.
    """

    problems: Names
    steps: Annotated[int, Field(ge=1)] | None = None
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    seeds: Seeds
    optimizers: Annotated[dict[str, Competitor], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """Every competitor with every setting and seed on every problem."""
    lengths = {"steps": settings.steps, "evaluate_every": settings.evaluate_every}
    given = {name: value for name, value in lengths.items() if value is not None}
    return [
        resolve(
            "benchmark",
            problem=problem,
            entry=name,
            optimizer=competitor.optimizer or name,
            schedule=competitor.schedule,
            settings=values,
            seed=seed,
            **given,
        )
        for problem in settings.problems
        for name, competitor in settings.optimizers.items()
        for values in competitor.settings()
        for seed in settings.seeds
    ]


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training."""
    return train(config, record)
