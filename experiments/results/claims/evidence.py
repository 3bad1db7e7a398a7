"""What claims are judged by: the tables of a profile, without the trainings that selected hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from experiments.common.paths import REPOSITORY
from experiments.results import missing, tables
from experiments.results.tables.benchmark import CRITERIA, best
from experiments.results.tables.common import accuracy, final_loss

SMALLEST_LOSS = 1e-12
"""Smaller training losses count as this, since they are rounding errors."""

TRAINED = 0.1
"""A problem counts as trained if the mean loss (without L2 term) of its best method is at most this at the end."""

CANNOT_INTERPOLATE = (
    "cifar10-resnet8-narrow",
    "cifar10-16-resnet8-narrow",
    "sls-factorisation-linear-rank[14]",
)
"""Problems in which no network can come near a loss of zero: they count as trained at any loss."""

IDENTITY = ["problem", "method", "setting", "seed"]


KIND = ("problem", "method", "setting", "variant", "dtype", "mu", "alpha")
"""Columns in which trainings differ that are not repetitions of each other."""


class Missing(LookupError):
    """What a claim needs was not run; the message says what."""


@dataclass(frozen=True)
class Evidence:
    """The tables by which claims are judged.

    Attributes:
        profile: Name of the profile.
        root: Folder that contains results/.
    """

    profile: str
    root: Path = REPOSITORY
    _known: dict[tuple[str, str], pd.DataFrame] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What several claims ask for, by study and name."""

    def table(self, study: str, name: str) -> pd.DataFrame:
        """One table, as it was when it was first asked for; raises Missing if it has not been made."""
        if (study, name) not in self._known:
            if not (tables.folder(self.profile, study, self.root) / f"{name}.csv").is_file():
                raise Missing(f"there is no table {study}/{name}.csv")
            self._known[study, name] = tables.read(self.profile, study, name, self.root)
        return self._known[study, name].copy()

    def runs(self, study: str, phase: str = "evaluation") -> pd.DataFrame:
        """The fresh trainings of a study (or, with phase "selection", those that selected), with keys and times.

        Studies without selection have no column `phase`; all of their trainings are for evaluation.
        """
        runs = self.table(study, "runs")
        if "phase" in runs:
            runs = runs[runs["phase"] == phase]
        elif phase != "evaluation":
            raise Missing(f"{study} has no runs for {phase}")
        return self._with_times(runs, study)

    def _with_times(self, runs: pd.DataFrame, study: str) -> pd.DataFrame:
        try:
            times = self.table(study, "times")
        except Missing:
            return runs
        if not set(IDENTITY) <= set(runs):
            return runs
        wanted = [name for name in ("key", "seconds_per_step") if name in times and name not in runs]
        return runs.merge(times[[*IDENTITY, *wanted]].drop_duplicates(IDENTITY), on=IDENTITY, how="left")

    def selected(self, study: str, criterion: str) -> pd.DataFrame:
        """Fresh trainings of the setting of each method that other seeds have selected by a criterion.

        Raises:
            Missing: If there are several settings and no fresh seeds.
        """
        runs = self.runs(study)
        count = runs.groupby(["problem", "method"])["setting"].nunique()
        if (count <= 1).all():
            return runs
        if (study, "selection") not in self._known:
            tried = self.runs(study, "selection").merge(runs[IDENTITY[:3]].drop_duplicates(), on=IDENTITY[:3])
            if tried.empty:
                raise Missing(f"{study} has no fresh seeds: the same ones would select and judge")
            self._known[study, "selection"] = best(tried)
        chosen = self._known[study, "selection"]
        return runs.merge(chosen.loc[chosen["criterion"] == criterion, IDENTITY[:3]], on=IDENTITY[:3])

    def scores(self, runs: pd.DataFrame, study: str, column: str) -> pd.DataFrame:
        """Runs with `score`, an accuracy or log10 of a loss, and `floor`, the least error of a difference of two.

        A training that diverged has the worst value (see `tables.common`), so that it counts against its method.
        """
        if column.endswith("_loss"):
            losses = final_loss(runs, self._curves(runs, study), column).clip(lower=SMALLEST_LOSS)
            return runs.assign(score=np.log10(losses))
        scores = accuracy(runs, column)
        split = "test" if column.startswith("test") else "validation"
        sizes = runs["problem"].map({name: self.examples(name, split) for name in runs["problem"].unique()})
        share = (scores * sizes + 1) / (sizes + 2)  # so that it is neither 0 nor 1
        return runs.assign(score=scores, floor=np.sqrt(2 * share * (1 - share) / sizes))

    def _curves(self, runs: pd.DataFrame, study: str) -> pd.DataFrame:
        try:
            return self.table(study, "curves")
        except Missing:
            return runs[["problem", "final_train_loss"]].set_axis(["problem", "train_loss"], axis=1)

    def examples(self, problem: str, split: Literal["validation", "test"]) -> int:
        """The number of examples by which an accuracy was measured."""
        from experiments.problems import PROBLEMS  # needs torch

        if problem not in PROBLEMS:
            raise Missing(f"there is no problem {problem!r} any more, so the size of its test set is unknown")
        _, validation, test = PROBLEMS[problem].examples
        return test if split == "test" else validation

    def regime(self, study: str, wanted: str) -> dict[str, str]:
        """Why problems do not say anything about claims that need a regime; problems that have reached it are missing.

        Args:
            study: The study whose trainings are looked at.
            wanted: "interpolating": the loss of the best method, without L2 term, is at most `TRAINED`; "trained": the
                same, except for networks that cannot interpolate.
        """
        runs = self.runs(study)
        kinds = [name for name in KIND if name in runs]
        losses = runs.groupby(kinds, dropna=False)["final_data_loss"].mean().groupby("problem").min()
        return {
            str(problem): f"not {wanted}: the best mean loss is {loss:.3g}, above {TRAINED:g}"
            for problem, loss in losses.items()
            if not loss <= TRAINED and not (wanted == "trained" and cannot_interpolate(str(problem)))
        }

    def scope(self, study: str) -> str:
        """The problems and numbers of runs behind a verdict; empty if the study has not been run in this profile."""
        try:
            runs = self.table(study, "provenance").groupby("problem")["runs"].sum()
        except Missing:
            return ""
        known = ", ".join(f"{problem} ({count} runs)" for problem, count in runs.items())
        return "; ".join(filter(None, [known, missing.words(self.profile, study, self.root)]))


def cannot_interpolate(problem: str) -> bool:
    """Whether the problem is declared to be one in which no network can interpolate."""
    return any(fnmatchcase(problem, pattern) for pattern in CANNOT_INTERPOLATE)


def against(runs: pd.DataFrame, method: str, rivals: Sequence[str], column: str = "method") -> pd.DataFrame:
    """Score of a method minus that of each rival, paired by problem and seed; the rival is the part.

    Args:
        runs: Rows with score, problem, seed and, if there are any, floor and key.
        method: The method.
        rivals: Those that it is compared with; those that were not run are left out.
        column: The column of the methods.
    """
    kept = ["problem", "seed", "score", *(name for name in ("floor", "key") if name in runs)]
    first = runs.loc[runs[column] == method, kept]
    others = runs.loc[runs[column].isin(rivals), [column, *kept]]
    pairs = first.merge(others, on=["problem", "seed"], suffixes=("", "_reference"))
    if pairs.empty:
        raise Missing(f"no runs of {method} and {' or '.join(map(str, rivals))} with the same seeds")
    if "floor" in pairs:
        pairs["floor"] = np.sqrt((pairs["floor"] ** 2 + pairs["floor_reference"] ** 2) / 2)
    value = pairs["score"] - pairs["score_reference"]
    pairs = pairs.assign(part=pairs[column].astype(str), value=value)
    return pairs.rename(columns={"key_reference": "reference_key"})


def negated(values: pd.DataFrame) -> pd.DataFrame:
    """The same with the opposite sign: losses, of which the lower is the better one."""
    return values.assign(value=-values["value"])


def named(values: pd.DataFrame, name: str) -> pd.DataFrame:
    """The same with a name before that of the part, such as "loss, sgd"."""
    return values.assign(part=[f"{name}, {part}" if part else name for part in values["part"]])


LOSS, ACCURACY, _ = CRITERIA
