"""Claims about exact line searches on the batch loss."""

import pandas as pd

from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured, paired

PAIRS = (("pal", "exact"), ("pal-adapted", "exact-adapted"))
"""PAL and the exact search to compare it with: both with direction adaptation, or both without."""


def _advantage(column: str, sign: float, explanation: str) -> Measure:
    """PAL's advantage over exact searches with the same kind of direction, paired by problem and seed."""

    def measure(evidence: Evidence) -> Measured | None:
        table = evidence.reached("exactness", column).pivot_table("value", ["problem", "seed"], "method")
        differences = {
            pal: sign * (table[pal] - table[exact]) for pal, exact in PAIRS if {pal, exact} <= set(table)
        }
        if not differences:
            return None
        each = ", ".join(f"{name} {values.mean():.3g}" for name, values in differences.items())
        return paired(pd.DataFrame(differences).mean(axis=1), f"{explanation}; {each}")

    return measure


CLAIMS = [
    Claim(
        "exact-loss",
        "An exact line search on the batch loss trains worse than PAL: training loss.",
        "section 6; review [certain]",
        "log10 final training loss of exact searches minus PAL's along the same kind of direction (mean of: both with, "
        "both without direction adaptation), paired by problem and seed; a training that diverged counts with the "
        "highest loss that any training of its problem showed. Supported above 0, contradicted below.",
        0.0,
        _advantage("final_train_loss", -1.0, "difference of log10 training loss (0.3 is a factor of 2)"),
        "exactness",
    ),
    Claim(
        "exact-accuracy",
        "An exact line search on the batch loss trains worse than PAL: validation accuracy.",
        "section 6; review [certain]",
        "PAL's final validation accuracy minus that of exact searches along the same kind of direction (mean of: both "
        "with, both without direction adaptation), paired by problem and seed; a training that diverged counts as 0. "
        "Supported above 0, contradicted below.",
        0.0,
        _advantage("final_val_accuracy", 1.0, "difference of validation accuracy"),
        "exactness",
    ),
]
