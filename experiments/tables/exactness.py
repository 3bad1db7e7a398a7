"""Tables of exact line searches and their rivals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from experiments.tables.benchmark import curve, run_row
from experiments.tables.common import Tables, in_rows

if TYPE_CHECKING:
    from experiments.runs import FinishedRun


def exactness(finished: Sequence["FinishedRun"]) -> Tables:
    """runs: one row per run; curves: one per evaluation."""
    curves = pd.concat([curve(run) for run in finished], ignore_index=True)
    return {
        "runs": in_rows(pd.DataFrame([run_row(run) for run in finished]), ["problem", "entry", "seed"]),
        "curves": in_rows(curves, ["problem", "entry", "seed", "step"]),
    }
