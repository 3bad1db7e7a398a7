"""Claims about optimizers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.claims.verdict import Claim, Evidence, Measure, Measured, paired
from experiments.tables.benchmark import best
from experiments.tables.common import final_accuracy

SCHEDULED = ["sgd-step", "adam-step", "rmsprop-step"]
CONSTANT = ["sgd", "adam", "rmsprop"]


def _normal_case(evidence: Evidence) -> Measured | None:
    runs = evidence.table("benchmark", "runs")
    return paired(runs.loc[runs["entry"] == "pal", "parabola_share"], "mean share of steps over PAL's runs")


def chosen(runs: pd.DataFrame, entry: str, criterion: str) -> pd.DataFrame:
    """Runs of an entry's best setting on each problem."""
    selected = best(runs[runs["entry"] == entry])
    wanted = selected.loc[selected["criterion"] == criterion, ["problem", "setting"]]
    return runs[runs["entry"] == entry].merge(wanted, on=["problem", "setting"])


def _advantage(
    rivals: Sequence[str], criterion: str, column: str, sign: float, log: bool, explanation: str
) -> Measure:
    """PAL's advantage over the best rival of each problem, paired by problem and seed; above 0 PAL is better."""

    def measure(evidence: Evidence) -> Measured | None:
        runs = evidence.table("benchmark", "runs")
        present = [rival for rival in rivals if rival in set(runs["entry"])]
        if "pal" not in set(runs["entry"]) or not present:
            return None
        pal = _values(runs, "pal", criterion, column, log)
        others = pd.DataFrame({rival: _values(runs, rival, criterion, column, log) for rival in present})
        means = others.groupby("problem").mean()
        rival = means.idxmin(axis=1) if sign < 0 else means.idxmax(axis=1)
        strongest = pd.Series(
            {index: others.loc[index, rival[index[0]]] for index in others.index}  # pyright: ignore[reportIndexIssue]
        )
        names = ", ".join(f"{name} on {problem}" for problem, name in rival.items())
        return paired(sign * (pal - strongest), f"{explanation}; best rival: {names}")

    return measure


def _values(runs: pd.DataFrame, entry: str, criterion: str, column: str, log: bool) -> pd.Series:
    values = chosen(runs, entry, criterion).set_index(["problem", "seed"])[column].astype(float)
    return np.log10(values) if log else values  # pyright: ignore[reportReturnType]


def _sensitivity(evidence: Evidence) -> Measured | None:
    """How much less PAL's validation accuracy depends on the setting than that of the median rival."""
    runs = evidence.table("benchmark", "runs").assign(accuracy=final_accuracy)
    means = runs.groupby(["problem", "entry", "seed", "setting"])["accuracy"].mean()
    spread = means.groupby(["problem", "entry", "seed"]).agg(lambda values: values.max() - values.min())
    table = spread.unstack("entry")
    rivals = [name for name in (*CONSTANT, *SCHEDULED, "sls", "alig", "sgdhd", "cocob") if name in table]
    if "pal" not in table or not rivals:
        return None
    explanation = f"median spread of {len(rivals)} rivals minus PAL's, in accuracy"
    return paired(table[rivals].median(axis=1) - table["pal"], explanation)


LOG_LOSS = "difference of log10 training loss (0.3 is a factor of 2)"
ACCURACY = "difference of test accuracy"

CLAIMS = [
    Claim(
        "normal-case",
        "Concave lines and rising directions hardly ever occur in training.",
        "section 4 [recollection]",
        "Share of PAL's steps with positive curvature and negative slope. Supported if the interval over runs is "
        "above 0.95, contradicted if below.",
        0.95,
        _normal_case,
        "benchmark",
        "lines/line-shape.png",
    ),
    Claim(
        "loss-scheduled",
        "PAL reaches a lower training loss than SGD, ADAM and RMSProp although these have a schedule.",
        "main figure [read off]; review [certain]",
        "log10 training loss of the best rival with schedule minus PAL's, each at its setting of lowest training loss, "
        "paired by problem and seed. Supported above 0, contradicted below.",
        0.0,
        _advantage(SCHEDULED, "training loss", "final_train_loss", -1.0, True, LOG_LOSS),
        "benchmark",
        "benchmark/",
    ),
    Claim(
        "loss-constant",
        "Without a schedule PAL reaches a lower training loss than SGD, ADAM and RMSProp.",
        "README of the authors [certain]",
        "As above, with rivals without schedule.",
        0.0,
        _advantage(CONSTANT, "training loss", "final_train_loss", -1.0, True, LOG_LOSS),
        "benchmark",
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
        "benchmark",
        "benchmark/",
    ),
    Claim(
        "accuracy-constant",
        "Without a schedule PAL's test accuracy is above that of SGD, ADAM and RMSProp.",
        "README of the authors [certain]",
        "As above, with rivals without schedule and margin 0.",
        0.0,
        _advantage(CONSTANT, "validation accuracy", "test_accuracy", 1.0, False, ACCURACY),
        "benchmark",
        "benchmark/",
    ),
    Claim(
        "sensitivity",
        "PAL depends little on its hyper-parameters.",
        "README of the authors [certain]; our measure",
        "Spread (highest minus lowest) of validation accuracy over the settings of a grid: median rival minus PAL, "
        "paired by problem and seed; a training that diverged counts as 0. Supported above 0, contradicted below.",
        0.0,
        _sensitivity,
        "benchmark",
        "benchmark/",
    ),
]
