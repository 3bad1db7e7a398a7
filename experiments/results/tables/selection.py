"""Which setting of each method goes on to further problems."""

import numpy as np
import pandas as pd

from experiments.results.tables.benchmark import best

COLUMNS = ("status", "final_train_loss", "final_val_accuracy", "test_accuracy")
"""What the choice is made of, as in the table `runs`; the last two have no part in it."""


def lowest_loss(runs: pd.DataFrame) -> dict[str, str]:
    """Of each method the setting with the lowest mean log training loss over all problems and seeds.

    That is `best` with all problems as one: a setting of which any run diverged is worse than all others, and the first
    is taken where two are equal.

    Args:
        runs: Columns problem, method, setting, seed and COLUMNS.
    """
    losses = runs["final_train_loss"].astype(float).clip(lower=np.finfo(float).tiny)
    selected = best(runs.assign(problem="all", final_train_loss=np.log(losses)))
    chosen = selected[selected["criterion"] == "training loss"]
    return dict(zip(chosen["method"], chosen["setting"], strict=True))
