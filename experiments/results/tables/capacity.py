"""Tables of PAL's learning rate for networks of several widths and numbers of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key

PARTS = 20
"""Number of equal parts of a training; each has the median learning rate and the mean loss of its steps."""

ORDER = ["problem", "images", "seed"]

COLUMNS = ("at", "step", "batch", "full", "full_loss0", "full_loss")
"""The arrays of the study for each line."""


def capacity(finished: Sequence[Run]) -> Tables:
    """curves: learning rate and loss of each part of each training; lines: one row per line; runs: one per training.

    runs has the loss of the last part; the learning rate of the last part, the highest one, and their ratio (1: no
    decrease); and medians over the lines: gap, the distance from the minimum of the full-batch loss to that of the
    batch loss, and overshoot, the same as a fraction of the distance to the minimum of the batch loss.
    """
    curves = in_rows(pd.concat([_curve(run) for run in finished]), [*ORDER, "step"])
    lines = in_rows(pd.concat([_lines(run) for run in finished]), [*ORDER, "at"])
    medians = lines.groupby(ORDER)[["step", "batch", "full", "gap", "overshoot"]].median().reset_index()
    runs = pd.DataFrame([_row(run) for run in finished]).merge(medians, on=ORDER, how="left")
    return {"curves": curves, "lines": lines, "runs": in_rows(runs, ORDER)}


def _labels(run: Run) -> dict[str, Any]:
    """Problem, number of weights, number of training images, and seed."""
    return {
        "problem": run.config.problem,
        "weights": run.result["weights"],
        "images": run.config.train_size,
        "seed": run.config.seed,
    } | short_key(run)


def _curve(run: Run) -> pd.DataFrame:
    """Learning rate and training loss of each part; `step` is its last step."""
    rates, losses = (np.array_split(run.trace[name], PARTS) for name in ("learning_rate", "train_loss"))
    return pd.DataFrame(
        _labels(run)
        | {
            "step": np.cumsum([len(part) for part in rates]),
            "learning_rate": [np.nanmedian(part) for part in rates],
            "train_loss": [np.mean(part) for part in losses],
        }
    )


def _row(run: Run) -> dict[str, Any]:
    curve = _curve(run)
    rates = curve["learning_rate"]
    return _labels(run) | {
        "status": run.result["status"],
        "phase": run.config.phase,
        "final_data_loss": run.result["final_data_loss"],
        "final_train_loss": curve["train_loss"].iloc[-1],
        "peak_rate": rates.max(),
        "final_rate": rates.iloc[-1],
        "rate_ratio": rates.iloc[-1] / rates.max(),
    }


def _lines(run: Run) -> pd.DataFrame:
    """The searched lines; none if the training diverged before the first one."""
    searched = measured_lines(run) or dict.fromkeys(COLUMNS, np.empty(0))
    table = pd.DataFrame(_labels(run) | searched)
    gap = table["batch"] - table["full"]
    return table.assign(gap=gap, overshoot=gap / table["batch"].where(table["batch"] > 0))
