"""Tables of trainings with and without interpolation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from experiments.tables.benchmark import CRITERIA, best, curve, run_row
from experiments.tables.common import Tables, in_rows

if TYPE_CHECKING:
    from experiments.runs import FinishedRun


def interpolation(finished: Sequence["FinishedRun"]) -> Tables:
    """runs: one row per run; best: the setting of lowest training loss of each optimizer; curves: of these settings."""
    runs = in_rows(pd.DataFrame([run_row(run) for run in finished]), ["problem", "entry", "setting", "seed"])
    chosen = best(runs)
    chosen = chosen[chosen["criterion"] == next(iter(CRITERIA))].drop(columns="criterion")
    curves = pd.concat([curve(run) for run in finished], ignore_index=True)
    curves = curves.merge(chosen[["problem", "entry", "setting"]], on=["problem", "entry", "setting"])
    order = ["problem", "entry", "setting", "seed", "step"]
    return {"runs": runs, "best": in_rows(chosen, ["problem", "entry"]), "curves": in_rows(curves, order)}
