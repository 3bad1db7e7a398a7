"""Claims about the step times alpha."""

import itertools

import numpy as np
import pandas as pd

from experiments.results.claims.claim import PAIRS, Claim
from experiments.results.claims.evidence import Evidence, Missing, against
from experiments.results.claims.statistics import Criterion, equivalent

NEAR = (0.8, 1.7)
"""The range of alpha that the authors' documentation recommends."""

LARGER = 1.25
"""An alpha above 1 (the authors use 1.2)."""


def _log_ratios(evidence: Evidence) -> pd.DataFrame:
    """log(s1 / s*) on the lines of trainings with alpha = 1: the parabola's minimum and that of the line."""
    lines = evidence.table("adaptation", "lines")
    lines = lines[(lines["alpha"] == 1) & (lines["case"] == 0) & (lines["exact"] > 0) & (lines["step"] > 0)]
    return lines.assign(log=np.log(lines["step"] / lines["exact"]))


def _short(evidence: Evidence) -> pd.DataFrame:
    return _log_ratios(evidence).groupby(["problem", "seed"])["log"].mean().rename("value").reset_index()


def _closer(evidence: Evidence) -> pd.DataFrame:
    lines = _log_ratios(evidence)
    gain = lines["log"].abs() - (lines["log"] + np.log(LARGER)).abs()
    return lines.assign(value=gain).groupby(["problem", "seed"])["value"].mean().reset_index()


def pairwise(runs: pd.DataFrame, swept: str) -> pd.DataFrame:
    """All differences of scores between two values of a hyper-parameter, paired by problem and seed."""
    values = sorted(runs[swept].unique())
    if len(values) < 2:
        raise Missing(f"there are no two values of {swept}")
    runs = runs.assign(swept=runs[swept].map("{:g}".format))
    pairs = [
        against(runs, f"{second:g}", [f"{first:g}"], "swept").assign(part=f"{second:g} and {first:g}")
        for first, second in itertools.combinations(values, 2)
    ]
    return pd.concat(pairs, ignore_index=True)


def _robust(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.runs("adaptation")
    near = runs[runs["alpha"].between(*NEAR)]
    return pairwise(evidence.scores(near, "adaptation", "final_val_accuracy_reestimated"), "alpha")


CLAIMS = [
    Claim(
        "narrow-parabolas",
        "PAL's parabolas are slightly too narrow: with alpha = 1 the step falls short of the minimum of the line.",
        "paper",
        "[recollection]",
        "Mean over a training's lines of log(s1 / s*): s1 the minimum of PAL's parabola, s* that of the line by exact "
        "search.",
        Criterion(
            "below",
            0.0,
            0.1,
            "the minimum of the parabola is at {value} times that of the line",
            "log of a ratio",
            floor=0.01,
            scale="e",
            pilot="log_ratio",
        ),
        _short,
        "adaptation",
    ),
    Claim(
        "alpha-exact",
        "An alpha above 1 brings the step closer to the minimum of the line.",
        "paper",
        "[recollection]",
        "Mean over the same lines of |log(s1 / s*)| - |log(1.25 s1 / s*)|.",
        Criterion(
            "above",
            0.0,
            0.03,
            "with alpha = 1.25, log(s1 / s*) is {value} [nearer to|further from] 0",
            "log of a ratio",
            floor=0.01,
            pilot="log_ratio",
        ),
        _closer,
        "adaptation",
    ),
    Claim(
        "alpha-robust",
        "Performance barely depends on alpha.",
        "paper",
        "README of the authors [certain]; margin ours",
        "Differences of final validation accuracy (batch-norm statistics re-estimated) between any two alphas from "
        "0.8 to 1.7, paired by seed; a training that diverged counts as 0.",
        equivalent(
            0.02,
            "the accuracy with alpha {part} differs by {value}",
            "accuracy",
            pilot="final_val_accuracy_reestimated",
        ),
        _robust,
        "adaptation",
        regime="trained",
        unit=PAIRS,
        tests=6,
    ),
]
