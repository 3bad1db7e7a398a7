"""What is drawn of a training: accuracy where it is defined, else the validation loss; logarithms where they exist."""

from typing import NamedTuple

import pandas as pd


class Quality(NamedTuple):
    """How good a network is on data that it was not trained on.

    Attributes:
        name: The measure in words.
        criterion: That by which the table `best` selects configurations.
        curve: Column of the table `curves`.
        final: Column of the table `runs`: after the last step.
        best: Column of the table `runs`: the best during the training if that is known.
        test: Column of the table `runs`: on test data.
        low: Whether low is good.
    """

    name: str
    criterion: str
    curve: str
    final: str
    best: str
    test: str
    low: bool


ACCURACY = Quality(
    "accuracy",
    "validation accuracy",
    "val_accuracy",
    "final_val_accuracy",
    "best_val_accuracy",
    "test_accuracy",
    low=False,
)
LOSS = Quality(
    "loss", "validation loss", "val_loss", "final_val_loss", "final_val_loss", "test_loss", low=True
)


def quality(table: pd.DataFrame) -> Quality:
    """What a table of runs or curves has: accuracies, or losses only."""
    known = [table[name] for name in (ACCURACY.curve, ACCURACY.final) if name in table]
    return ACCURACY if not known or any(column.notna().any() for column in known) else LOSS


def scale(values: pd.Series) -> str:
    """The scale of an axis: logarithmic only if all numbers are positive."""
    known = values.dropna()
    return "log" if len(known) and (known > 0).all() else "linear"
