"""Claims about exact line searches on the batch loss."""

import numpy as np
import pandas as pd

from experiments.claims.verdict import Claim, Evidence, Measure, Measured, bootstrap


def _advantage(column: str, sign: float, log: bool, explanation: str) -> Measure:
    """PAL's advantage over the better exact search of each problem, paired by problem and seed."""

    def measure(evidence: Evidence) -> Measured | None:
        runs = evidence.table("exactness", "runs")
        filled = _filled(runs, evidence.table("exactness", "curves"), column)
        values = runs.assign(value=np.log10(filled) if log else filled).dropna(subset=["value"])
        table = values.pivot_table("value", ["problem", "seed"], "entry")
        exact = [str(entry) for entry in table.columns if str(entry).startswith("exact")]
        if "pal" not in table or not exact:
            return None
        means = sign * table[exact].groupby("problem").mean()
        better = means.idxmax(axis=1)
        rival = pd.Series({index: table.loc[index, better[index[0]]] for index in table.index})  # pyright: ignore[reportIndexIssue]
        difference = (sign * (table["pal"] - rival)).dropna()
        if difference.empty:
            return None
        groups = [np.array([value]) for value in difference]
        names = ", ".join(f"{name} on {problem}" for problem, name in better.items())
        words = f"{explanation}; better exact search: {names}"
        return Measured(float(difference.mean()), *bootstrap(groups), len(difference), words)

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
        "log10 final training loss of the better exact search (with or without direction adaptation) minus PAL's, "
        "paired by problem and seed; a training that diverged counts with the highest loss that any training of its "
        "problem showed. Supported above 0, contradicted below.",
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
        "PAL's final validation accuracy minus that of the better exact search, paired by problem and seed; "
        "a training that diverged counts as 0. Supported above 0, contradicted below.",
        0.0,
        _advantage("final_val_accuracy", 1.0, False, "difference of validation accuracy"),
        "exactness",
        "exactness/",
    ),
]
