"""What the tables of all studies share: the run of a row, times, and provenance."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from experiments.runs.finished import FinishedRun as Run
else:
    Run = Any  # notebooks read tables and need not import torch

Tables = dict[str, pd.DataFrame]


KEY_DIGITS = 8
"""Of a run's key, in tables: enough for `python -m experiments repeat`."""


def short_key(run: Run) -> dict[str, str]:
    """The column that leads from a row to its run."""
    return {"key": run.key[:KEY_DIGITS]}


def identity(run: Run) -> dict[str, Any]:
    """The columns that tell the run of a row from others of its study."""
    return {
        "problem": run.config.problem,
        "method": run.config.method,
        "setting": run.config.setting,
        "seed": run.config.seed,
        "phase": run.config.phase,
    }


def measured_lines(run: Run) -> dict[str, np.ndarray]:
    """The arrays lines/<name> of a run, by name, with one row per line."""
    trace, prefix = run.trace, "lines/"
    return {name.removeprefix(prefix): trace[name] for name in trace if name.startswith(prefix)}


def times(finished: Sequence[Run]) -> pd.DataFrame:
    """Wall time and key of every run; seconds_per_step is without evaluations and measurements."""
    rows = [
        identity(run)
        | {
            "seconds": run.seconds,
            "steps": run.result["steps"],
            "seconds_per_step": run.step_seconds / run.result["steps"],
            "key": run.key,
        }
        for run in finished
    ]
    return in_rows(pd.DataFrame(rows), ["problem", "method", "setting", "seed"])


def provenance(finished: Sequence[Run]) -> pd.DataFrame:
    """Code, software, data and device, with the number of runs that share them."""
    names = ["commit", "dirty", "python", "torch", "device", "instruction_set", "threads", "data_sha256"]
    rows = pd.DataFrame(
        [
            {"problem": run.config.problem} | {name: run.info["provenance"][name] for name in names}
            for run in finished
        ]
    )
    columns = ["problem", *names]
    return rows.groupby(columns, dropna=False, sort=True).size().rename("runs").reset_index()


def in_rows(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows sorted by these columns, with a new index."""
    return table.sort_values(columns, kind="stable").reset_index(drop=True)


def accuracy(runs: pd.DataFrame, column: str = "final_val_accuracy") -> pd.Series:
    """An accuracy column; trainings that diverged have 0 if accuracy is defined for their problem."""
    values = runs[column].astype(float)
    defined = values.notna().groupby(runs["problem"]).transform("any")
    return values.mask((runs["status"] == "diverged") & defined, 0.0)


def log_losses(losses: Any, floor: float = 0.0) -> Any:
    """log10 of losses, at least of `floor`; the losses themselves if one of them is negative, as own losses may be."""
    values = np.asarray(losses, dtype=float)
    if np.any(values[np.isfinite(values)] < 0):
        return losses
    with np.errstate(divide="ignore"):
        return np.log10(losses.clip(lower=floor))


def final_loss(runs: pd.DataFrame, curves: pd.DataFrame, column: str = "final_train_loss") -> pd.Series:
    """Final losses; trainings that diverged have the highest training loss of any training of their problem."""
    shown = curves[np.isfinite(curves["train_loss"])]
    worst = runs["problem"].map(shown.groupby("problem")["train_loss"].max())
    return runs[column].astype(float).mask(runs["status"] == "diverged", worst)
