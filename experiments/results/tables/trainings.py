"""Tables of any trainings: results and curves of each run."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, identity, in_rows, short_key


def trainings(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; curves: one per evaluation."""
    order = ["problem", "method", "setting", "seed"]
    curves = pd.concat([curve(run) for run in finished], ignore_index=True)
    return {
        "runs": in_rows(pd.DataFrame([run_row(run) for run in finished]), order),
        "curves": in_rows(curves, [*order, "step"]),
    }


def run_row(run: Run) -> dict[str, Any]:
    """The results of a run.

    median_step: distance in weight space; parabola_share: fraction of steps in the normal case; both for line searches
    only.
    """
    names = [
        "status",
        "final_train_loss",
        "min_train_loss",
        "final_val_accuracy",
        "best_val_accuracy",
        "test_accuracy",
    ]
    return (
        identity(run)
        | {name: getattr(run.config, name) for name in ("optimizer", "schedule", "batch_size")}
        | {name: run.result[name] for name in names}
        | {"median_step": _of_finite(np.median, run.trace["step"])}
        | {"parabola_share": _of_finite(lambda cases: np.mean(cases == 0), run.trace["case"])}
        | short_key(run)
    )


def _of_finite(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> float | None:
    """A statistic of the finite values; None if there are none, as for optimizers without a line search."""
    known = values[np.isfinite(values)]
    return float(statistic(known)) if len(known) else None


def curve(run: Run) -> pd.DataFrame:
    """A run at its evaluations: mean training loss and learning rate since the previous one, validation accuracy."""
    columns = {
        name: run.trace[f"evaluations/{name}"] for name in ("train_loss", "val_accuracy", "learning_rate")
    }
    steps = run.trace["evaluations/evaluation_step"].astype(int)
    return pd.DataFrame(identity(run) | {"step": steps} | columns | short_key(run))
