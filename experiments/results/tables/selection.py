"""Which hyper-parameters of each method are selected for fresh seeds."""

import pandas as pd

from experiments.results.tables.benchmark import best

COLUMNS = (
    "status",
    "final_train_loss",
    "final_val_accuracy_reestimated",
    "test_accuracy_reestimated",
)
"""Columns of the table `runs` that `best` needs; the last does not affect the selection."""


def selected(runs: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """For each problem and method, the configurations that `best` ranks first, one for each criterion if they differ.

    Args:
        runs: Columns problem, method, setting, seed and COLUMNS.
    """
    chosen: dict[tuple[str, str], list[str]] = {}
    for row in best(runs).to_dict("records"):
        names = chosen.setdefault((row["problem"], row["method"]), [])
        if row["setting"] not in names:
            names.append(row["setting"])
    return chosen
