"""Claims about PAL and other optimizers."""

from collections.abc import Sequence

import pandas as pd

from experiments.results.claims.verdict import (
    Claim,
    Evidence,
    Measure,
    Measured,
    lowest_minus_highest,
    paired,
)
from experiments.results.tables.benchmark import best

SCHEDULED = ["sgd-step", "adam-step", "rmsprop-step"]
CONSTANT = ["sgd", "adam", "rmsprop"]


def _normal_case(evidence: Evidence) -> Measured | None:
    runs = evidence.table("benchmark", "runs")
    return paired(
        runs.loc[runs["method"] == "pal", "parabola_share"], "mean fraction of steps over PAL's runs"
    )


def chosen(runs: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """For each problem, the runs of the configuration that a criterion ranks first, of any method."""
    configuration = runs["method"] + " " + runs["setting"]
    wanted = best(runs.assign(method="any", setting=configuration))
    wanted = wanted[wanted["criterion"] == criterion]
    return runs[(runs["problem"] + " " + configuration).isin(wanted["problem"] + " " + wanted["setting"])]


def _advantage(rivals: Sequence[str], criterion: str, column: str, sign: float, explanation: str) -> Measure:
    """PAL's advantage over the best rival on each problem, paired by problem and seed; positive if PAL is better."""

    def measure(evidence: Evidence) -> Measured | None:
        runs = evidence.reached("benchmark", column)
        pal, others = runs[runs["method"] == "pal"], runs[runs["method"].isin(rivals)]
        if pal.empty or others.empty:
            return None
        pal, rival = (chosen(some, criterion).set_index(["problem", "seed"]) for some in (pal, others))
        names = rival.groupby("problem")["method"].first()
        each = ", ".join(f"{name} on {problem}" for problem, name in names.items())
        return paired(sign * (pal["value"] - rival["value"]), f"{explanation}; best rival: {each}")

    return measure


def _sensitivity(evidence: Evidence) -> Measured | None:
    """How much less PAL's validation accuracy depends on hyper-parameters than that of the median rival."""
    runs = evidence.reached("benchmark", "final_val_accuracy")
    spread = {
        name: -lowest_minus_highest(runs[runs["method"] == name], "setting")
        for name in ("pal", *CONSTANT, *SCHEDULED, "sls", "alig", "sgdhd", "cocob")
    }
    table = pd.DataFrame(spread).dropna(axis="columns", how="all")
    rivals = [name for name in table if name != "pal"]
    if "pal" not in table or not rivals:
        return None
    explanation = f"median spread of {len(rivals)} rivals minus PAL's, in accuracy"
    return paired(table[rivals].median(axis=1) - table["pal"], explanation)


LOG_LOSS = "difference of log10 training loss (0.3 is a factor of 2)"
ACCURACY = "difference of test accuracy"

CLAIMS = [
    Claim(
        "normal-case",
        "Concave lines and ascent directions are very rare in training.",
        "section 4 [recollection]",
        "Fraction of PAL's steps with positive curvature and negative slope. Supported if the interval over runs is "
        "above 0.95, contradicted if below.",
        0.95,
        _normal_case,
        "benchmark",
        "lines/line-shape.png",
    ),
    Claim(
        "loss-scheduled",
        "PAL reaches a lower training loss than SGD, Adam and RMSProp with a schedule.",
        "main figure [read off]; review [certain]",
        "log10 training loss of the best rival with schedule minus PAL's, rival and configurations being those of "
        "lowest training loss, paired by problem and seed; a training that diverged counts with the highest loss of "
        "any training of its problem. Supported above 0, contradicted below.",
        0.0,
        _advantage(SCHEDULED, "training loss", "final_train_loss", -1.0, LOG_LOSS),
        "benchmark",
    ),
    Claim(
        "loss-constant",
        "PAL reaches a lower training loss than SGD, Adam and RMSProp without a schedule.",
        "README of the authors [certain]",
        "As above, with rivals without schedule.",
        0.0,
        _advantage(CONSTANT, "training loss", "final_train_loss", -1.0, LOG_LOSS),
        "benchmark",
    ),
    Claim(
        "accuracy-scheduled",
        "PAL's test accuracy is competitive with that of SGD, Adam and RMSProp with a schedule.",
        "abstract [certain]; margin ours",
        "PAL's test accuracy minus that of the best rival with schedule, rival and configurations being those of "
        "highest validation accuracy, paired by problem and seed; a training that diverged counts as 0. Supported if "
        "the interval is above -0.01, contradicted if below.",
        -0.01,
        _advantage(SCHEDULED, "validation accuracy", "test_accuracy", 1.0, ACCURACY),
        "benchmark",
    ),
    Claim(
        "accuracy-constant",
        "PAL's test accuracy is higher than that of SGD, Adam and RMSProp without a schedule.",
        "README of the authors [certain]",
        "As above, with rivals without schedule and margin 0.",
        0.0,
        _advantage(CONSTANT, "validation accuracy", "test_accuracy", 1.0, ACCURACY),
        "benchmark",
    ),
    Claim(
        "sensitivity",
        "PAL depends little on its hyper-parameters.",
        "README of the authors [certain]; our measure",
        "Spread (highest minus lowest) of validation accuracy over the configurations of a grid: median "
        "rival minus PAL, paired by problem and seed; a training that diverged counts as 0. Supported above 0, "
        "contradicted below.",
        0.0,
        _sensitivity,
        "benchmark",
    ),
]
