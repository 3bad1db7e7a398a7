"""Tables of any trainings: results and curves of each run."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, identity, in_rows, short_key

RESULTS = (
    "status",
    "steps",
    "final_train_loss",
    "final_data_loss",
    "min_train_loss",
    "final_val_loss",
    "final_val_accuracy",
    "final_val_accuracy_reestimated",
    "best_val_accuracy",
    "test_loss",
    "test_accuracy",
    "test_accuracy_reestimated",
)
"""Columns of the table `runs` that the run itself has computed (`training.loop.train`)."""


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

    final_data_loss: without the L2 term; *_reestimated: after re-estimating batch-norm statistics on training batches;
    final_val_<name>, test_<name>: further metrics of the problem; median_step and the fractions of steps (see
    `fractions`): for line searches only.
    """
    metrics = [
        name for name in run.result if name.startswith(("final_val_", "test_")) and name not in RESULTS
    ]
    return (
        identity(run)
        | {name: getattr(run.config, name) for name in ("optimizer", "schedule", "batch_size")}
        | {name: run.result.get(name) for name in (*RESULTS, *metrics)}
        | {"median_step": _of_finite(np.median, run.trace["step"])}
        | fractions(run)
        | short_key(run)
    )


def fractions(run: Run) -> dict[str, float | None]:
    """Fractions of the steps of a line search.

    normal_fraction: positive curvature and negative slope; clipped_fraction: the step was limited;
    uninformative_fraction: the minimum of the parabola is within 5 % of mu / 2, where it lies if the slope explains all
    of l(mu) - l(0) - mu l'(0), so that the probe says nothing about the line (PAL only).
    """
    trace, settings = run.trace, run.config.settings
    found = {
        "normal_fraction": _of_finite(lambda cases: np.mean(cases == 0), trace["case"]),
        "clipped_fraction": _of_finite(np.mean, trace["clipped"]),
        "uninformative_fraction": None,
    }
    if {"mu", "alpha"} <= settings.keys():
        steps = np.where(trace["case"] == 0, trace["step"] / settings["alpha"], np.nan)
        found["uninformative_fraction"] = float(np.mean(uninformative(steps, settings["mu"])))
    return found


def uninformative(minimum: Any, mu: float) -> Any:
    """Whether the minimum of PAL's parabola is within 5 % of mu / 2; False for NaN."""
    return np.abs(minimum - mu / 2) <= 0.05 * mu / 2


def _of_finite(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> float | None:
    """A statistic of the finite values; None if there are none, as for optimizers without a line search."""
    known = values[np.isfinite(values)]
    return float(statistic(known)) if len(known) else None


def curve(run: Run) -> pd.DataFrame:
    """A run at its evaluations: mean losses and learning rate since the previous one, and validation measures.

    schedule: "none" if the optimizer alone determines the learning rate.
    """
    trace, prefix = run.trace, "evaluations/"
    columns = {name.removeprefix(prefix): trace[name] for name in trace if name.startswith(prefix)}
    steps = columns.pop("evaluation_step").astype(int)
    labels = identity(run) | {"schedule": run.config.schedule, "step": steps}
    return pd.DataFrame(labels | columns | short_key(run))
