"""Tables of trainings with exact line searches and with other methods."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows
from experiments.results.tables.trainings import curve, run_row


def exactness(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; curves: one per evaluation.

    step_size: mean length of the steps since the previous evaluation, in weight space; SGD does not record it.
    """
    curves = pd.concat([_curve(run) for run in finished], ignore_index=True)
    return {
        "runs": in_rows(pd.DataFrame([run_row(run) for run in finished]), ["problem", "method", "seed"]),
        "curves": in_rows(curves, ["problem", "method", "seed", "step"]),
    }


def _curve(run: Run) -> pd.DataFrame:
    table = curve(run)
    parts = np.split(run.trace["step"].astype(float), table["step"].iloc[:-1].to_numpy())
    return table.assign(step_size=[part.mean() for part in parts])
