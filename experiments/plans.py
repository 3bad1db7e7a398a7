"""What the plans of all studies of trainings have in common."""

from typing import Annotated, Any

from pydantic import Field

from experiments.config import Strict

Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[int], Field(min_length=1)]


class Trainings(Strict):
    """Trainings on some problems.

    Attributes:
        problems: Data sets and networks.
        steps: Length of every run; the problem's own if missing.
        evaluate_every: Steps between evaluations; an epoch if missing.
        seeds: Every setting is run once with each.
    """

    problems: Names
    steps: Annotated[int, Field(ge=1)] | None = None
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    seeds: Seeds

    def lengths(self) -> dict[str, Any]:
        """What is not left to the problem, for `config.resolve`."""
        given = {"steps": self.steps, "evaluate_every": self.evaluate_every}
        return {name: value for name, value in given.items() if value is not None}
