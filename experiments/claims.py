"""The paper's claims, each with a test declared beforehand, judged by the tables.

A verdict needs the whole 95 % interval on one side of the claim's threshold; anything else is undecided. With three
seeds that is often the honest answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments import tables
from experiments.errors import UserError
from experiments.source import REPOSITORY

Verdict = Literal["supported", "contradicted", "undecided", "not measured"]
COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow", "not measured": "dim"}
SCHEDULED = ["sgd-step", "adam-step", "rmsprop-step"]
CONSTANT = ["sgd", "adam", "rmsprop"]
RESAMPLES = 10_000


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
        measure: The measurement; None where the profile has no data for it.
        figure: What to look at, inside figures/<profile>/.
    """

    id: str
    claim: str
    source: str
    test: str
    threshold: float
    measure: Measure
    figure: str


@dataclass(frozen=True)
class Evidence:
    """The tables that claims are judged by."""

    runs: pd.DataFrame
    lines: pd.DataFrame

    @classmethod
    def read(cls, profile: str, root: Path = REPOSITORY) -> "Evidence":
        """The tables of a profile."""
        return cls(
            tables.read(profile, "benchmark", "runs", root), tables.read(profile, "lines", "lines", root)
        )

    @property
    def scope(self) -> str:
        """What was measured, for the reader of a verdict."""
        problems = sorted(set(self.runs["problem"]) | set(self.lines["problem"]))
        return f"{', '.join(problems)}; {self.runs['seed'].nunique()} seeds"


def judge(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """One row of the claims table."""
    row = {name: getattr(claim, name) for name in ("id", "claim", "source", "test", "threshold", "figure")}
    measured = claim.measure(evidence)
    empty = {"measured": None, "low": None, "high": None, "n": 0}
    if measured is None:
        return row | empty | {"verdict": "not measured", "scope": evidence.scope, "explanation": ""}
    numbers = {"measured": measured.value} | {
        name: getattr(measured, name) for name in ("low", "high", "n", "explanation")
    }
    return row | numbers | {"verdict": verdict(measured, claim.threshold), "scope": evidence.scope}


def verdict(measured: Measured, threshold: float) -> Verdict:
    """Which side of the threshold the whole interval is on."""
    if measured.low > threshold:
        return "supported"
    return "contradicted" if measured.high < threshold else "undecided"


def bootstrap(
    groups: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float] = np.mean
) -> tuple[float, float]:
    """95 % percentile interval of a statistic, resampling whole groups (such as all lines of one training)."""
    random = np.random.default_rng(0)
    draws = random.integers(len(groups), size=(RESAMPLES, len(groups)))
    values = [statistic(np.concatenate([groups[index] for index in draw])) for draw in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


# -- claims about lines ------------------------------------------------------------------------------------------


def _of_lines(column: str, explanation: str, statistic: Callable[[np.ndarray], float] = np.mean) -> Measure:
    """A statistic of a column over all lines; the interval resamples trainings, since lines of one are alike."""

    def measure(evidence: Evidence) -> Measured | None:
        values = evidence.lines.assign(value=evidence.lines[column].astype(float)).dropna(subset=["value"])
        if values.empty:
            return None
        groups = [group["value"].to_numpy() for _, group in values.groupby(["problem", "seed"])]
        whole = np.concatenate(groups)
        return Measured(float(statistic(whole)), *bootstrap(groups, statistic), len(whole), explanation)

    return measure


def _normal_case(evidence: Evidence) -> Measured | None:
    shares = evidence.runs.loc[evidence.runs["entry"] == "pal", "parabola_share"].dropna().to_numpy()
    if len(shares) == 0:
        return None
    low, high = bootstrap([np.array([share]) for share in shares])
    return Measured(float(shares.mean()), low, high, len(shares), "mean share of steps over PAL's runs")


# -- claims about optimizers -------------------------------------------------------------------------------------


def chosen(runs: pd.DataFrame, entry: str, criterion: str) -> pd.DataFrame:
    """Runs of an entry's best setting on each problem."""
    best = tables.best(runs[runs["entry"] == entry])
    wanted = best.loc[best["criterion"] == criterion, ["problem", "setting"]]
    return runs[runs["entry"] == entry].merge(wanted, on=["problem", "setting"])


def _advantage(
    rivals: Sequence[str], criterion: str, column: str, sign: float, log: bool, explanation: str
) -> Measure:
    """PAL's advantage over the best rival of each problem, paired by problem and seed; above 0 PAL is better."""

    def measure(evidence: Evidence) -> Measured | None:
        present = [rival for rival in rivals if rival in set(evidence.runs["entry"])]
        if "pal" not in set(evidence.runs["entry"]) or not present:
            return None
        pal = _values(evidence.runs, "pal", criterion, column, log)
        others = pd.DataFrame(
            {rival: _values(evidence.runs, rival, criterion, column, log) for rival in present}
        )
        means = others.groupby("problem").mean()
        rival = means.idxmin(axis=1) if sign < 0 else means.idxmax(axis=1)
        strongest = pd.Series(
            {index: others.loc[index, rival[index[0]]] for index in others.index}  # pyright: ignore[reportIndexIssue]
        )
        difference = (sign * (pal - strongest)).dropna()
        if difference.empty:
            return None
        groups = [np.array([value]) for value in difference]
        names = ", ".join(f"{name} on {problem}" for problem, name in rival.items())
        return Measured(
            float(difference.mean()),
            *bootstrap(groups),
            len(difference),
            f"{explanation}; best rival: {names}",
        )

    return measure


def _values(runs: pd.DataFrame, entry: str, criterion: str, column: str, log: bool) -> pd.Series:
    values = chosen(runs, entry, criterion).set_index(["problem", "seed"])[column].astype(float)
    return np.log10(values) if log else values  # pyright: ignore[reportReturnType]


def _sensitivity(evidence: Evidence) -> Measured | None:
    """How much less PAL's validation accuracy depends on the setting than that of the median rival."""
    completed = evidence.runs.assign(accuracy=evidence.runs["final_val_accuracy"].fillna(0.0))
    means = completed.groupby(["problem", "entry", "seed", "setting"])["accuracy"].mean()
    spread = means.groupby(["problem", "entry", "seed"]).agg(lambda values: values.max() - values.min())
    table = spread.unstack("entry")
    rivals = [name for name in (*CONSTANT, *SCHEDULED, "sls", "alig", "sgdhd", "cocob") if name in table]
    if "pal" not in table or not rivals:
        return None
    difference = (table[rivals].median(axis=1) - table["pal"]).dropna()
    groups = [np.array([value]) for value in difference]
    explanation = f"median spread of {len(rivals)} rivals minus PAL's, in accuracy"
    return Measured(float(difference.mean()), *bootstrap(groups), len(difference), explanation)


LOG_LOSS = "difference of log10 training loss (0.3 is a factor of 2)"
ACCURACY = "difference of test accuracy"

CLAIMS = [
    Claim(
        "lines-convex",
        "Batch losses along the search direction are mostly convex in the neighbourhood of the weights.",
        "abstract [certain]",
        "Share of measured lines with no negative second difference between the weights and twice PAL's step. "
        "Supported if the 95 % interval (trainings resampled) is above one half, contradicted if below.",
        0.5,
        _of_lines("locally_convex", "share of lines"),
        "lines/line_shape.png",
    ),
    Claim(
        "lines-parabolic",
        "A parabola through loss, slope and one more loss is well suited to find the minimum of the line.",
        "abstract [certain]; our measure",
        "Median share of the achievable decrease of the batch loss that PAL's step (alpha = 1) reaches. Supported if "
        "the interval is above 0.9, contradicted if below.",
        0.9,
        _of_lines("improvement", "median over lines", np.median),
        "lines/loss_lines.png",
    ),
    Claim(
        "normal-case",
        "Concave lines and rising directions hardly ever occur in training.",
        "section 4 [recollection]",
        "Share of PAL's steps with positive curvature and negative slope. Supported if the interval over runs is "
        "above 0.95, contradicted if below.",
        0.95,
        _normal_case,
        "lines/line_shape.png",
    ),
    Claim(
        "loss-scheduled",
        "PAL reaches a lower training loss than SGD, ADAM and RMSProp although these have a schedule.",
        "main figure [read off]; review [certain]",
        "log10 training loss of the best rival with schedule minus PAL's, each at its setting of lowest training loss, "
        "paired by problem and seed. Supported above 0, contradicted below.",
        0.0,
        _advantage(SCHEDULED, "training loss", "final_train_loss", -1.0, True, LOG_LOSS),
        "benchmark/",
    ),
    Claim(
        "loss-constant",
        "Without a schedule PAL reaches a lower training loss than SGD, ADAM and RMSProp.",
        "README of the authors [certain]",
        "As above, with rivals without schedule.",
        0.0,
        _advantage(CONSTANT, "training loss", "final_train_loss", -1.0, True, LOG_LOSS),
        "benchmark/",
    ),
    Claim(
        "accuracy-scheduled",
        "PAL's test accuracy competes with that of SGD, ADAM and RMSProp with a schedule.",
        "abstract [certain]; margin ours",
        "PAL's test accuracy minus that of the best rival with schedule, each at its setting of highest validation "
        "accuracy, paired by problem and seed. Supported if the interval is above -0.01, contradicted if below.",
        -0.01,
        _advantage(SCHEDULED, "validation accuracy", "test_accuracy", 1.0, False, ACCURACY),
        "benchmark/",
    ),
    Claim(
        "accuracy-constant",
        "Without a schedule PAL's test accuracy is above that of SGD, ADAM and RMSProp.",
        "README of the authors [certain]",
        "As above, with rivals without schedule and margin 0.",
        0.0,
        _advantage(CONSTANT, "validation accuracy", "test_accuracy", 1.0, False, ACCURACY),
        "benchmark/",
    ),
    Claim(
        "sensitivity",
        "PAL depends little on its hyper-parameters.",
        "README of the authors [certain]; our measure",
        "Spread (highest minus lowest) of validation accuracy over the settings of a grid: median rival minus PAL, "
        "paired by problem and seed. Supported above 0, contradicted below.",
        0.0,
        _sensitivity,
        "benchmark/",
    ),
]


def judged(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """Every claim with what was measured and the verdict."""
    evidence = Evidence.read(profile, root)
    return pd.DataFrame([judge(claim, evidence) for claim in CLAIMS])


def path(profile: str, root: Path = REPOSITORY) -> Path:
    """Where a profile's verdicts are."""
    return root / "results" / profile / "claims.csv"


def main(profile: str) -> int:
    """Judge every claim and write results/<profile>/claims.csv."""
    tables.replace(judged(profile), path(profile))
    return 0


def show(profile: str) -> int:
    """Print the verdicts and where to look."""
    if not path(profile).is_file():
        raise UserError(f"{path(profile)} is not there; `make reproduce PROFILE={profile}` makes it")
    verdicts = pd.read_csv(path(profile))
    console = Console()
    table = Table(
        "claim", "measured", "95 % interval", "n", "verdict", title=f"The paper's claims, profile {profile}"
    )
    for row in verdicts.to_dict("records"):
        known = row["verdict"] != "not measured"
        numbers = (
            (f"{row['measured']:.3g}", f"{row['low']:.3g} to {row['high']:.3g}", str(row["n"]))
            if known
            else ("", "", "")
        )
        table.add_row(str(row["claim"]), *numbers, f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]")
    console.print(table)
    console.print(f"scope: {verdicts['scope'].iloc[0]}", highlight=False)
    for folder, what in (
        ("reports", "the report: open index.html"),
        ("figures", "PNG and PDF"),
        ("results", "tables"),
    ):
        console.print(f"  {folder}/{profile}/  {what}", highlight=False)
    return 0
