"""Claims about exact line searches on the batch loss."""

import numpy as np
import pandas as pd

from experiments.claims.verdict import Claim, Evidence, Measure, Measured, paired

PAIRS = (("pal", "exact"), ("pal-adapted", "exact-adapted"))
"""Which search is compared with which PAL: along the same direction, adapted or not."""


def _advantage(column: str, sign: float, log: bool, explanation: str) -> Measure:
    """PAL's advantage over exact searches along the same kind of direction, paired by problem and seed."""

    def measure(evidence: Evidence) -> Measured | None:
        runs = evidence.table("exactness", "runs")
        filled = _filled(runs, evidence.table("exactness", "curves"), column)
        values = runs.assign(value=np.log10(filled) if log else filled)
        table = values.pivot_table("value", ["problem", "seed"], "entry")
        differences = {
            pal: sign * (table[pal] - table[exact]) for pal, exact in PAIRS if {pal, exact} <= set(table)
        }
        if not differences:
            return None
        each = ", ".join(f"{name} {values.mean():.3g}" for name, values in differences.items())
        return paired(pd.DataFrame(differences).mean(axis=1), f"{explanation}; {each}")

    return measure


def _filled(runs: pd.DataFrame, curves: pd.DataFrame, column: str) -> pd.Series:
    """What runs reached; one that diverged the worst there is, so that it counts against its competitor."""
    worst = 0.0
    if column == "final_train_loss":
        shown = curves[np.isfinite(curves["train_loss"])]
        worst = runs["problem"].map(shown.groupby("problem")["train_loss"].max())
    return runs[column].astype(float).mask(runs["status"] == "diverged", worst)


CLAIMS = [
    Claim(
        "exact-loss",
        "An exact line search on the batch loss trains worse than PAL: training loss.",
        "section 6; review [certain]",
        "log10 final training loss of exact searches minus PAL's along the same kind of direction (mean of: both with, "
        "both without direction adaptation), paired by problem and seed; a training that diverged counts with the "
        "highest loss that any training of its problem showed. Supported above 0, contradicted below.",
        0.0,
        _advantage(
            "final_train_loss", -1.0, True, "difference of log10 training loss (0.3 is a factor of 2)"
        ),
        "exactness",
        "exactness/",
    ),
    Claim(
        "exact-accuracy",
        "An exact line search on the batch loss trains worse than PAL: validation accuracy.",
        "section 6; review [certain]",
        "PAL's final validation accuracy minus that of exact searches along the same kind of direction (mean of: both "
        "with, both without direction adaptation), paired by problem and seed; a training that diverged counts as 0. "
        "Supported above 0, contradicted below.",
        0.0,
        _advantage("final_val_accuracy", 1.0, False, "difference of validation accuracy"),
        "exactness",
        "exactness/",
    ),
]
