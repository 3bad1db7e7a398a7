"""What a claim is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from experiments.results.claims.evidence import Evidence
from experiments.results.claims.statistics import Criterion, estimates

Verdict = Literal["supported", "contradicted", "undecided", "out of reach", "not measured"]

Measure = Callable[[Evidence], pd.DataFrame]
"""From tables to values: problem, seed, value; and, where there are several, part, floor, key and reference_key."""

PAIRS = "pairs of trainings"
"""The unit of differences between two trainings with the same seed."""

EXCLUDED = "since 2026-11-30, an interval that excludes the smallest effect contradicts; `small` was "
"""The change after which some claims have a verdict that they lacked; the old one follows."""

MOST = "since 2026-12-01, what most problems contradict is contradicted; `small` was "
"""The change after which the mean over problems does not support alone; the old verdict follows."""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: Short name.
        claim: The claim in our words.
        whose: Who makes it: the paper, another paper, or this replication.
        source: Where it is made, and how certain that is.
        test: What the value of a training is.
        criterion: When the mean of the values decides; or one criterion for each part, all of which have to be met.
        measure: From tables to the values of all trainings; raises `Missing` or KeyError for what was not run.
        study: The study that it is judged by.
        parts: The parts without which it is not supported; () if whatever was measured counts.
        tests: Of how many parts it consists, if a profile decides which; for what it can see (`power`).
        regime: What a problem must have reached: "trained", "interpolating", or "" for nothing (see `Evidence.regime`).
        unit: What n counts.
        post_hoc: What was changed after data had been seen; "" for what was declared beforehand.
        figure: The figure to look at inside figures/<profile>/, if not all of the study.
        summarise: From values to estimates, for values that are not averaged.
        phase: Whose trainings it is judged by: fresh ones, or those that selected hyper-parameters.
        spread: The standard deviation of a value, from n, where it needs no pilot.
    """

    id: str
    claim: str
    whose: Literal["paper", "another paper", "ours"]
    source: str
    test: str
    criterion: Criterion | Mapping[str, Criterion]
    measure: Measure
    study: str
    parts: tuple[str, ...] = ()
    regime: Literal["", "trained", "interpolating"] = ""
    unit: str = "trainings"
    post_hoc: str = ""
    figure: str = ""
    summarise: Callable[[pd.DataFrame], pd.DataFrame] = estimates
    tests: int = 1
    phase: Literal["evaluation", "selection"] = "evaluation"
    spread: Callable[[int], float] | None = None

    def criterion_of(self, part: str) -> Criterion:
        """The criterion of a part: the one under its name or, for "accuracy, sgd", under its first word."""
        return self.criteria[self.criterion_name(part)]

    def criterion_name(self, part: str) -> str:
        """The name of the criterion of a part; "" if there is one for all parts."""
        if isinstance(self.criterion, Criterion):
            return ""
        return part if part in self.criterion else part.partition(",")[0]

    @property
    def criteria(self) -> Mapping[str, Criterion]:
        """All criteria by name."""
        return {"": self.criterion} if isinstance(self.criterion, Criterion) else self.criterion
