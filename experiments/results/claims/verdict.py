"""What a claim is, how it is measured, and when it is supported.

A verdict needs the whole 95 % interval on one side of the threshold; otherwise the claim is undecided, as is
often the case with three seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from experiments.common.paths import REPOSITORY
from experiments.results import missing, tables
from experiments.results.tables.common import accuracy, final_loss, log_losses
from experiments.results.tables.intervals import mean_interval

FLOOR = 1e-12
"""Smaller training losses count as this, since they are rounding errors."""

Verdict = Literal["supported", "contradicted", "undecided", "not measured"]


class Measured(NamedTuple):
    """A value with its 95 % interval, sample size and explanation."""

    value: float
    low: float
    high: float
    n: int
    explanation: str


Measure = Callable[["Evidence"], Measured | None]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: Short name.
        claim: The claim in our words.
        source: Where it is made, and how certain that is.
        test: What is measured, and when the claim is supported or contradicted.
        threshold: The claim is supported if the whole interval is above it, contradicted if it is below.
        measure: The measurement; returns None if the runs have no data for it.
        study: The study with the runs that it is judged by.
        figure: The figure to look at inside figures/<profile>/, if not all of the study.
    """

    id: str
    claim: str
    source: str
    test: str
    threshold: float
    measure: Measure
    study: str
    figure: str | None = None


@dataclass(frozen=True)
class Evidence:
    """The tables by which claims are judged.

    Attributes:
        profile: Name of the profile.
        root: Folder that contains results/.
    """

    profile: str
    root: Path = REPOSITORY

    def table(self, study: str, name: str) -> pd.DataFrame:
        """One table; raises UserError if it has not been made."""
        return tables.read(self.profile, study, name, self.root)

    def reached(self, study: str, column: str) -> pd.DataFrame:
        """Runs of a study with a column `value`: an accuracy, or log10 of the training loss (see `log_losses`).

        A training that diverged has the worst value (see `tables.common`), so that it counts against its method.
        """
        runs = self.table(study, "runs")
        if column != "final_train_loss":
            return runs.assign(value=accuracy(runs, column))
        return runs.assign(value=log_losses(final_loss(runs, self.table(study, "curves")), FLOOR))

    def scope(self, study: str) -> str:
        """The problems and numbers of runs behind a verdict; empty if the study has not been run in this profile."""
        if not (tables.folder(self.profile, study, self.root) / "provenance.csv").is_file():
            return ""
        runs = self.table(study, "provenance").groupby("problem")["runs"].sum()
        known = ", ".join(f"{problem} ({count} runs)" for problem, count in runs.items())
        return "; ".join(filter(None, [known, missing.words(self.profile, study, self.root)]))


def judge(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """One row of the claims table."""
    names = ("id", "claim", "source", "test", "threshold", "study")
    row = {name: getattr(claim, name) for name in names} | {"figure": claim.figure or f"{claim.study}/"}
    row |= {"scope": evidence.scope(claim.study)}
    measured = claim.measure(evidence) if row["scope"] else None
    if measured is None:
        empty = {"measured": None, "low": None, "high": None, "n": 0}
        return row | empty | {"verdict": "not measured", "explanation": ""}
    value, low, high, count, explanation = measured
    numbers = {"measured": value, "low": low, "high": high, "n": count, "explanation": explanation}
    return row | numbers | {"verdict": verdict(measured, claim.threshold)}


def verdict(measured: Measured, threshold: float) -> Verdict:
    """The verdict of an interval; a single value has none (NaN) and decides nothing."""
    if measured.low > threshold:
        return "supported"
    return "contradicted" if measured.high < threshold else "undecided"


def paired(values: pd.Series, explanation: str) -> Measured | None:
    """Mean of independent values, one per training or pair of trainings; None if there are none.

    The interval applies to the problems that were measured: all values count alike, and differences between problems
    widen it. It says nothing about other problems, however many seeds there are.
    """
    numbers = values.dropna().to_numpy(dtype=float)
    if not len(numbers):
        return None
    return Measured(float(numbers.mean()), *mean_interval(numbers), len(numbers), explanation)


def resampled_mean(
    values: Mapping[Any, float], draws: Sequence[np.ndarray], n: int, explanation: str, form: str = ".3g"
) -> Measured:
    """Mean of the values of several problems; the interval is that of the mean of their draws.

    Args:
        values: By problem.
        draws: For each problem its resampled values.
        n: What the values were made of.
        explanation: What they are.
        form: How they are shown.
    """
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    words = f"{explanation}; {', '.join(f'{name} {value:{form}}' for name, value in values.items())}"
    return Measured(float(np.mean(list(values.values()))), float(low), float(high), n, words)


def lowest_minus_highest(runs: pd.DataFrame, swept: str) -> pd.Series:
    """Lowest minus highest `value` over the swept configurations, for each problem and seed that has several."""
    groups = runs.groupby(["problem", "seed"])
    differences = groups["value"].min() - groups["value"].max()
    return differences[groups[swept].nunique() > 1]
