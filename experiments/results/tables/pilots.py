"""What pilot trainings say of a profile before it is run: spreads over seeds, and times."""

import math

import numpy as np
import pandas as pd

from experiments.results.tables.common import Tables

LOGARITHMIC = ("final_train_loss", "final_data_loss")
"""Losses are judged on a logarithmic scale: mean and spread are those of log10."""

PLAIN = (
    "final_val_accuracy",
    "final_val_accuracy_reestimated",
    "test_accuracy",
    "test_accuracy_reestimated",
    "normal_fraction",
    "uninformative_fraction",
    "clipped_fraction",
)

CONSTANT = 1e-9
"""Learning rates that vary less are those of a method without a line search."""

KEYS = ["problem", "method", "setting", "seed"]


def pilots(runs: pd.DataFrame, times: pd.DataFrame, rates: pd.DataFrame) -> Tables:
    """pilots: a row per problem and measure; pilots-runs: a row per run.

    sd: the standard deviation over seeds, pooled over methods and settings (root of the mean variance); mean: over all
    runs; n_seeds: the most of any of these; seconds: mean time of a run. log10_rise and log10_fall: log10 of the
    highest mean learning rate of a twentieth of the training over those of the first and of the last one, for line
    searches; log10_rate: the smaller one of both.

    Args:
        runs: The table of that name of a benchmark.
        times: Likewise.
        rates: Likewise.
    """
    table = runs.merge(times[[*KEYS, "seconds", "seconds_per_step"]], on=KEYS).merge(
        _shape(rates), on=KEYS, how="left"
    )
    values = table[KEYS].assign(
        **{name: np.log10(table[name].astype(float)) for name in LOGARITHMIC},
        **{name: table[name].astype(float) for name in (*PLAIN, "log10_rise", "log10_fall", "log10_rate")},
        log2_seconds_per_step=np.log2(table["seconds_per_step"]),
    )
    names = [name for name in values if name not in KEYS]
    long = values.melt(KEYS, names, "measure").dropna(subset=["value"])
    groups = long.groupby(["problem", "measure"])
    rows = [{"problem": problem, "measure": name} | _spread(group) for (problem, name), group in groups]
    seconds = table.groupby("problem")["seconds"].mean().rename("seconds").reset_index()
    kept = [*KEYS, "status", *LOGARITHMIC, *PLAIN, "log10_rise", "log10_fall", "seconds", "seconds_per_step"]
    return {"pilots": pd.DataFrame(rows).merge(seconds, on="problem"), "pilots-runs": table[kept]}


def _spread(values: pd.DataFrame) -> dict[str, float]:
    groups = values.groupby(["method", "setting"])["value"]
    several = groups.var(ddof=1).dropna()
    return {
        "sd": float(np.sqrt(several.mean())) if len(several) else np.nan,
        "mean": values["value"].mean(),
        "n_seeds": int(groups.size().max()),
    }


def _shape(rates: pd.DataFrame) -> pd.DataFrame:
    """How far the learning rate of each training rises from its first twentieth, and falls to its last."""
    table = rates.pivot_table("mean_rate", KEYS, "twentieth").map(math.log10)
    table = table[table.std(axis=1) > CONSTANT]
    peak = table.max(axis=1)
    rise, fall = peak - table[table.columns.min()], peak - table[table.columns.max()]
    found = pd.DataFrame({"log10_rise": rise, "log10_fall": fall, "log10_rate": np.minimum(rise, fall)})
    return found.reset_index()
