"""What a study is, and what the plans of all studies of trainings have in common."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from experiments.common.registry import load
from experiments.studies.registry import STUDIES
from experiments.training.config import RunConfig, Strict, resolve
from experiments.training.record import Record

Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[int], Field(min_length=1)]

Choice = dict[str, dict[str, Any]]
"""The settings that finished runs have chosen for each method, by its name."""

SettingsT = TypeVar("SettingsT", bound=Strict)


@dataclass(frozen=True)
class Study(Generic[SettingsT]):
    """A question with runs of its own.

    Attributes:
        settings: What its section of a profile may hold.
        plan: Its runs.
        run: Executes one of them; returns what goes into the tables.
        further: Runs that follow when those of `plan` are finished, with the settings that these choose.
        cost: Forward passes of a measurement, where measurements may take minutes; the others are timed.
    """

    settings: type[SettingsT]
    plan: Callable[[SettingsT], list[RunConfig]]
    run: Callable[[RunConfig, Record], dict[str, Any]]
    further: Callable[[SettingsT, Choice], list[RunConfig]] = lambda *_: []
    cost: Callable[[RunConfig], int] | None = None


def get_study(name: str) -> Study[Any]:
    """The study `name`; raises UserError with the nearest names if there is none."""
    return load(f"{STUDIES[name]}:STUDY")


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

    def runs(self, study: str, kinds: Iterable[dict[str, Any]], **same: Any) -> list[RunConfig]:
        """Every kind of run with every seed on every problem; kinds and `same` are fields for `config.resolve`."""
        every = itertools.product(self.problems, list(kinds), self.seeds)
        return [
            resolve(study, **{"problem": problem, "seed": seed} | self.lengths() | same | kind)
            for problem, kind, seed in every
        ]


class Subset(Trainings):
    """Trainings whose whole training set is evaluated at every measured step.

    Attributes:
        train_size: Training examples, a multiple of the batch size; all if missing.
    """

    train_size: Annotated[int, Field(ge=1)] | None = None

    def size(self) -> dict[str, Any]:
        """What is not left to the problem."""
        return {} if self.train_size is None else {"train_size": self.train_size}
