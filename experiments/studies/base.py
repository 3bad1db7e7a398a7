"""What a study is, and what the plans of studies have in common."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import Field, model_validator

from experiments.common.errors import UserError
from experiments.common.registry import load
from experiments.studies.registry import STUDIES
from experiments.training.config import RunConfig, Strict, resolve
from experiments.training.record import Record

Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[int], Field(min_length=1)]

Choice = dict[tuple[str, str], list[dict[str, Any]]]
"""The hyper-parameters that finished runs have selected, by problem and method; several if criteria disagree."""

SettingsT = TypeVar("SettingsT", bound=Strict)


@dataclass(frozen=True)
class Study(Generic[SettingsT]):
    """A question with its own runs.

    Attributes:
        settings: Schema of its section in a profile.
        plan: Returns its runs.
        run: Executes one of them and returns its results.
        further: Returns the runs that follow those of `plan` and use the hyper-parameters that these selected.
        cost: Returns the forward passes per measurement, in batches of the training, for estimates of time.
    """

    settings: type[SettingsT]
    plan: Callable[[SettingsT], list[RunConfig]]
    run: Callable[[RunConfig, Record], dict[str, Any]]
    further: Callable[[SettingsT, Choice], list[RunConfig]] = lambda *_: []
    cost: Callable[[RunConfig], float] = lambda _: 0.0


def get_study(name: str) -> Study[Any]:
    """The study `name`; raises UserError with similar names if there is none."""
    entry = STUDIES[name]
    found = load(f"{entry}:STUDY") if isinstance(entry, str) else entry
    if not isinstance(found, Study):
        raise UserError(f"STUDIES: {name!r} is {found!r:.60}; it must be a Study")
    return found


def evenly_spaced(count: int, steps: int) -> set[int]:
    """The middles of `count` equal parts of a training, or all steps if there are fewer."""
    return {(2 * part + 1) * steps // (2 * count) for part in range(count)}


class Trainings(Strict):
    """Trainings on some problems.

    Attributes:
        problems: Names of the problems.
        steps: Length of each run; by default that of the problem.
        evaluate_every: Steps between evaluations; by default an epoch.
        seeds: Each configuration is run once with each seed.
    """

    problems: Names
    steps: Annotated[int, Field(ge=1)] | None = None
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    seeds: Seeds

    def lengths(self) -> dict[str, Any]:
        """The fields that are given, for `config.resolve`; the problem decides the others."""
        given = {"steps": self.steps, "evaluate_every": self.evaluate_every}
        return {name: value for name, value in given.items() if value is not None}

    def runs(self, study: str, kinds: Iterable[dict[str, Any]], **same: Any) -> list[RunConfig]:
        """Each kind of run on each problem with each seed; kinds and `same` are fields for `config.resolve`."""
        every = itertools.product(self.problems, list(kinds), self.seeds)
        return [
            resolve(study, **{"problem": problem, "seed": seed} | self.lengths() | same | kind)
            for problem, kind, seed in every
        ]


class Selecting(Trainings):
    """Trainings of several methods, each with several hyper-parameters, of which it is judged by the best.

    Attributes:
        selection_seeds: Every configuration is run with these, and the selected ones with the fresh `seeds`. Without
            them, every configuration is run with `seeds`.
    """

    selection_seeds: list[int] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_fresh_seeds(self) -> Self:
        both = sorted(set(self.seeds) & set(self.selection_seeds))
        if both:
            raise ValueError(f"seeds and selection_seeds both have {both[0]}; seeds must be fresh")
        return self

    def first_runs(self, study: str, kinds: Iterable[dict[str, Any]]) -> list[RunConfig]:
        """Each configuration with the seeds that select, or with all if there are none."""
        if not self.selection_seeds:
            return self.runs(study, kinds)
        return self.model_copy(update={"seeds": self.selection_seeds}).runs(study, kinds, phase="selection")

    def fresh_runs(
        self, study: str, choice: Choice, methods: Mapping[str, dict[str, Any]]
    ) -> list[RunConfig]:
        """The selected configurations of each problem and method with fresh seeds.

        Args:
            study: Name of the study.
            choice: The selected hyper-parameters.
            methods: The other fields of the runs of each method.
        """
        if not self.selection_seeds:
            return []
        return [
            config
            for (problem, method), chosen in choice.items()
            for config in self.model_copy(update={"problems": [problem]}).runs(
                study, [methods[method] | {"settings": settings} for settings in chosen]
            )
        ]


class Subset(Trainings):
    """Trainings in which each measurement evaluates the whole training set.

    Attributes:
        train_size: Number of training examples, a multiple of the batch size; by default all.
    """

    train_size: Annotated[int, Field(ge=1)] | None = None

    def size(self) -> dict[str, Any]:
        """The size if it is given; the problem decides it otherwise."""
        return {} if self.train_size is None else {"train_size": self.train_size}
