"""A claim about trainings whose length is not known when their schedule is chosen."""

import numpy as np
import pandas as pd

from experiments.results.claims.claim import EXCLUDED, PAIRS, Claim
from experiments.results.claims.evidence import SMALLEST_LOSS, Evidence, Missing
from experiments.results.claims.statistics import lower_loss

HORIZONS = (0.25, 0.5, 1.0)
"""Fractions of the training at which it might have ended."""


def regrets(curves: pd.DataFrame) -> pd.DataFrame:
    """The largest regret of each method and setting over the horizons, per problem and seed.

    The regret at a horizon is log10 of the training loss there over the lowest of all entries with the same seed.
    """
    ends = curves.groupby("problem")["step"].transform("max")
    there = pd.concat([curves[curves["step"] <= ends * part].assign(horizon=part) for part in HORIZONS])
    keys = ["problem", "seed", "horizon", "method", "setting"]
    last = there.sort_values("step").groupby(keys)["train_loss"].last().clip(lower=SMALLEST_LOSS)
    losses = np.log10(last.fillna(curves["train_loss"].replace(np.inf, np.nan).max()))
    regret = losses - losses.groupby(["problem", "seed", "horizon"]).transform("min")
    return regret.groupby(["problem", "seed", "method", "setting"]).max().rename("regret").reset_index()


def _advantage(evidence: Evidence) -> pd.DataFrame:
    """The largest regret of SGD with each rate and schedule minus PAL's."""
    table = regrets(evidence.table("horizon", "curves"))
    pal = (
        table[table["method"] == "pal"]
        .groupby(["problem", "seed"])["regret"]
        .min()
        .rename("pal")
        .reset_index()
    )
    others = table[table["method"] != "pal"].merge(pal, on=["problem", "seed"])
    if others.empty:
        raise Missing("PAL and SGD were not run with the same seeds")
    return others.assign(
        value=others["regret"] - others["pal"],
        part=others["method"] + " " + others["setting"].fillna("").astype(str),
    )


CLAIMS = [
    Claim(
        "horizon",
        "Where the length of the training is unknown, PAL loses less than SGD with any rate and schedule.",
        "paper",
        "abstract: well suited where schedules are unknown [certain]; our measure",
        "Regret: log10 of the training loss over the lowest of all entries, at 25, 50 and 100 % of the training. The "
        "largest regret of SGD minus PAL's, paired by seed, one test for each of SGD's rates and drop schedules.",
        lower_loss("PAL's largest regret is {value} [lower|higher] in log10 than that of {part}"),
        _advantage,
        "horizon",
        unit=PAIRS,
        post_hoc=EXCLUDED + "out of reach",
        tests=9,
    )
]
