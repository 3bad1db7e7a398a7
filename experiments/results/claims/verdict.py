"""What a claim is, how it is measured, and when it holds.

A verdict needs the whole 95 % interval on one side of the claim's threshold; anything else is undecided. With three
seeds that is often the honest answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from experiments.common.paths import REPOSITORY
from experiments.results import tables
from experiments.results.tables.common import accuracy, final_loss
from experiments.results.tables.intervals import mean_interval

FLOOR = 1e-12
"""Training losses below count as this: they are rounding."""

Verdict = Literal["supported", "contradicted", "undecided", "not measured"]


class Measured(NamedTuple):
    """A number with its 95 % interval and what it was made of."""

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
        claim: What the paper says, in our words.
        source: Where, and how sure we are that it says so.
        test: What is measured, and when the claim is supported or contradicted.
        threshold: The claim is supported if the whole interval is above it, contradicted if it is below.
        measure: The measurement; None where the runs have no data for it.
        study: Whose runs it is judged by.
        figure: What to look at inside figures/<profile>/, if not all figures of the study.
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
    """The tables that claims are judged by.

    Attributes:
        profile: At whose scale.
        root: Results are under it.
    """

    profile: str
    root: Path = REPOSITORY

    def table(self, study: str, name: str) -> pd.DataFrame:
        """One table; raises UserError if it has not been made."""
        return tables.read(self.profile, study, name, self.root)

    def reached(self, study: str, column: str) -> pd.DataFrame:
        """Runs of a study with `value`: an accuracy, or log10 of the training loss.

        A training that diverged has the worst value there is (`tables.common`): it counts against its method.
        """
        runs = self.table(study, "runs")
        if column != "final_train_loss":
            return runs.assign(value=accuracy(runs, column))
        losses = final_loss(runs, self.table(study, "curves")).clip(lower=FLOOR)
        return runs.assign(value=np.log10(losses))

    def scope(self, study: str) -> str:
        """What a study measured, for the reader of a verdict; empty if it has not been run at this scale."""
        if not tables.folder(self.profile, study, self.root).is_dir():
            return ""
        runs = self.table(study, "provenance").groupby("problem")["runs"].sum()
        return ", ".join(f"{problem} ({count} runs)" for problem, count in runs.items())


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
    """Which side of the threshold the whole interval is on; a single number has none (NaN), and decides nothing."""
    if measured.low > threshold:
        return "supported"
    return "contradicted" if measured.high < threshold else "undecided"


def paired(values: pd.Series, explanation: str) -> Measured | None:
    """Mean of values that stand for themselves, one per training or pair of trainings; None if there is none.

    The interval is one for the problems that were measured: all values count alike, and how far problems are apart is
    in its width. It says nothing of other problems, and more seeds do not make it an interval over problems.
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
    """Of the column `value` over the settings that were swept, per problem and seed that has several of them."""
    groups = runs.groupby(["problem", "seed"])
    differences = groups["value"].min() - groups["value"].max()
    return differences[groups[swept].nunique() > 1]
