"""Is an exact line search on the batch loss a good way to train? (PAPER section 6)

The same weights and batches for each competitor: exact searches along the negative gradient and along PAL's adapted
direction, PAL, PAL with the alpha that makes its steps most exact, and SGD.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.config import RunConfig, Strict, resolve
from experiments.training import Record, train


class Competitor(Strict):
    """One way to train.

    Attributes:
        optimizer: Name in `experiments.optimizers`.
        settings: Its settings; what is missing keeps its default.
    """

    optimizer: str
    settings: dict[str, Any] = Field(default_factory=dict)


class Settings(Strict):
    """Section `exactness` of a profile.

    Attributes:
        problems: Data sets and networks.
        steps: Length of every run; the problem's own if missing.
        evaluate_every: Steps between evaluations; an epoch if missing.
        seeds: Every competitor is run once with each.
        competitors: By the name that tables and figures show: pal, and names that begin with exact.
    """

    problems: Annotated[list[str], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)] | None = None
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    seeds: Annotated[list[int], Field(min_length=1)]
    competitors: Annotated[dict[str, Competitor], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """Every competitor with every seed on every problem."""
    lengths = {"steps": settings.steps, "evaluate_every": settings.evaluate_every}
    given = {name: value for name, value in lengths.items() if value is not None}
    return [
        resolve(
            "exactness",
            problem=problem,
            entry=name,
            optimizer=competitor.optimizer,
            settings=competitor.settings,
            seed=seed,
            **given,
        )
        for problem in settings.problems
        for name, competitor in settings.competitors.items()
        for seed in settings.seeds
    ]


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training."""
    return train(config, record)
