"""Tables of PAL's step and the minimum of its line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.trainings import run_row


def adaptation(finished: Sequence[Run]) -> Tables:
    """lines: one row per searched line; alphas: one per line and alpha, whatever that of the training; runs: one per
    training, with the medians of its lines.

    step_error: |s - s*| / s*; ratio: s / s*; improvement: (l(0) - l(s)) / (l(0) - l(s*)); angle in degrees. Lines on
    which the loss does not decrease have no s* and count for the angle only.
    """
    lines = in_rows(pd.concat([_lines(run) for run in finished]), ["problem", "alpha", "seed", "at"])
    medians = lines.groupby(["problem", "alpha", "seed"])[
        ["angle", "ratio", "step_error", "improvement"]
    ].median()
    rows = [run_row(run) | {"alpha": run.config.settings["alpha"]} for run in finished]
    runs = pd.DataFrame(rows).merge(
        medians.add_prefix("median_").reset_index(), on=["problem", "alpha", "seed"]
    )
    alphas = in_rows(
        pd.concat([_alphas(run) for run in finished]), ["problem", "training", "seed", "at", "alpha"]
    )
    return {"lines": lines, "alphas": alphas, "runs": in_rows(runs, ["problem", "alpha", "seed"])}


def _alphas(run: Run) -> pd.DataFrame:
    """Each line with each alpha; training: the alpha of the training."""
    arrays = measured_lines(run)
    count = arrays["alpha"].shape[1]
    of_line = {name: arrays[name].repeat(count) for name in ("at", "exact", "loss0", "loss_exact")}
    columns: dict[str, Any] = {"problem": run.config.problem, "training": run.config.settings["alpha"]}
    columns |= {"seed": run.config.seed} | of_line | {"alpha": arrays["alpha"].ravel()}
    names = {"step": "alpha_step", "loss_step": "alpha_loss", "angle": "alpha_angle"}
    return _compared(pd.DataFrame(columns | {name: arrays[source].ravel() for name, source in names.items()}))


def _lines(run: Run) -> pd.DataFrame:
    columns: dict[str, Any] = {"problem": run.config.problem, "alpha": run.config.settings["alpha"]}
    arrays = {name: values for name, values in measured_lines(run).items() if not name.startswith("alpha")}
    return _compared(pd.DataFrame(columns | {"seed": run.config.seed} | short_key(run) | arrays))


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """With ratio, relative error and improvement of steps, compared with the minima of their lines."""
    exact = table["exact"].where(table["exact"] > 0, np.nan)
    possible = (table["loss0"] - table["loss_exact"]).where(exact > 0, np.nan)
    return table.assign(
        ratio=table["step"] / exact,
        step_error=(table["step"] - exact).abs() / exact,
        improvement=(table["loss0"] - table["loss_step"]) / possible,
    )
