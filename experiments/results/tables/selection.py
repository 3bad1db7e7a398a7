"""Which hyper-parameters of each method are used for further problems."""

import numpy as np
import pandas as pd

from experiments.results.tables.benchmark import best
from experiments.results.tables.common import log_losses

COLUMNS = ("status", "final_train_loss", "final_val_accuracy", "test_accuracy")
"""Columns of the table `runs` that `best` needs; the last two do not affect the selection."""


def lowest_loss(runs: pd.DataFrame) -> dict[str, str]:
    """The configuration of each method with the lowest mean log training loss over all problems and seeds.

    Losses that are not all positive are compared as they are.

    This is `best` with all problems as one: a configuration with a diverged run is worse than all others, and the first
    of equal ones is taken.

    Args:
        runs: Columns problem, method, setting, seed and COLUMNS.
    """
    losses = runs["final_train_loss"].astype(float)
    selected = best(runs.assign(problem="all", final_train_loss=log_losses(losses, np.finfo(float).tiny)))
    chosen = selected[selected["criterion"] == "training loss"]
    return dict(zip(chosen["method"], chosen["setting"], strict=True))
