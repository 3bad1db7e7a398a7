"""Tables of PAL's step and the minimum of its line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.trainings import run_row


def adaptation(finished: Sequence[Run]) -> Tables:
    """lines: one row per searched line; runs: one per training, with the medians of its lines.

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
    return {"lines": lines, "runs": in_rows(runs, ["problem", "alpha", "seed"])}


def _lines(run: Run) -> pd.DataFrame:
    columns: dict[str, Any] = {"problem": run.config.problem, "alpha": run.config.settings["alpha"]}
    table = pd.DataFrame(columns | {"seed": run.config.seed} | short_key(run) | measured_lines(run))
    exact = table["exact"].where(table["exact"] > 0, np.nan)
    possible = (table["loss0"] - table["loss_exact"]).where(exact > 0, np.nan)
    return table.assign(
        ratio=table["step"] / exact,
        step_error=(table["step"] - exact).abs() / exact,
        improvement=(table["loss0"] - table["loss_step"]) / possible,
    )
