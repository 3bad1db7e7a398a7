"""Claims about batch loss and full-batch loss: along the lines of SGD without momentum."""

import numpy as np
import pandas as pd

from experiments.results.claims.claim import EXCLUDED, Claim
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.statistics import Criterion

ORDER = {
    "PAL and the exact batch minimum": ("pal", "exact"),
    "SGD at 0.05 and PAL": ("sgd-0.05", "pal"),
    "the exact batch minimum and SGD at 0.1": ("exact", "sgd-0.1"),
}
"""Strategies of which the first one decreases the full-batch loss more."""

PHASES = ("first half", "second half")


def _totals(evidence: Evidence, by_phase: bool) -> pd.DataFrame:
    """Decrease of the full-batch loss per training (and half of it) by each strategy, as fractions of the optimum's."""
    lines = evidence.table("fullbatch", "strategies")
    lines = lines[lines["momentum"] == 0]
    if lines.empty:
        raise Missing("no lines of SGD without momentum")
    late = lines["at"] > lines.groupby("problem")["at"].transform("max") / 2
    lines = lines.assign(part=np.where(late, PHASES[1], PHASES[0]) if by_phase else "")
    totals = lines.pivot_table("improvement", ["problem", "seed", "part"], "strategy", aggfunc="sum")
    return totals.div(totals["optimum"].abs(), axis=0)


def _pal_over_exact(evidence: Evidence) -> pd.DataFrame:
    totals = _totals(evidence, by_phase=True)
    return (totals["pal"] - totals["exact"]).rename("value").reset_index()


def _order(evidence: Evidence) -> pd.DataFrame:
    totals = _totals(evidence, by_phase=False)
    found = {part: totals[more] - totals[less] for part, (more, less) in ORDER.items()}
    return pd.concat([one.rename("value").reset_index().assign(part=part) for part, one in found.items()])


CLAIMS = [
    Claim(
        "fullbatch-pal",
        "PAL's steps decrease the full-batch loss more than exact minima of the batch loss do.",
        "paper",
        "section 6 [recollection]; arXiv:2103.17132 [read off: 170 against 109]",
        "Decrease of the full-batch loss by PAL's steps (mu 0.1) minus that by exact batch minima, summed over the "
        "lines of a training, as a fraction of the largest possible decrease; in both halves of the training.",
        Criterion(
            "above",
            0.0,
            0.3,
            "in the {part}, PAL achieves {value} [more|less] of the possible decrease than exact minima",
            "fraction of the possible decrease",
            floor=0.01,
            pilot="improvement_ratio",
        ),
        _pal_over_exact,
        "fullbatch",
        PHASES,
    ),
    Claim(
        "fullbatch-order",
        "By full-batch loss, PAL beats exact batch minima, SGD at 0.05 beats PAL, and exact batch minima beat SGD at "
        "0.1.",
        "another paper",
        "arXiv:2103.17132, by the same group [read off: 194, 170, 109, 36]",
        "The same differences between neighbours in this order, over the whole training.",
        Criterion(
            "above",
            0.0,
            0.1,
            "{part}: the first one achieves {value} [more|less] of the possible decrease",
            "fraction of the possible decrease",
            floor=0.01,
            pilot="improvement_ratio",
        ),
        _order,
        "fullbatch",
        tuple(ORDER),
        post_hoc=EXCLUDED + "out of reach",
    ),
]
