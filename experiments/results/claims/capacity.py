"""Claims about networks that can or cannot fit their data: rank correlations over cells.

A cell is a network with a number of images, the mean of its seeds. The correlation is tested on Fisher's scale, where
its standard error is 1.03 / sqrt(m - 3) for m cells (Fieller, Hartley and Pearson 1957); a permutation of the cells
gives the same p.
"""

import numpy as np
import pandas as pd

from experiments.results.claims.claim import EXCLUDED, Claim, Measure
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.statistics import Criterion

FAR = 1e4
"""Degrees of freedom of a standard error that is known."""

STRONG = 0.7
"""The smallest rank correlation of interest."""


def _cells(column: str) -> Measure:
    """Loss and a column of each cell; the problem is the data set, the first word of the names of its problems."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        runs = evidence.runs("capacity").dropna(subset=["final_train_loss", column])
        cells = runs.groupby(["problem", "images"])[["final_train_loss", column]].mean().reset_index()
        return cells.assign(
            seed=cells["problem"] + ", " + cells["images"].astype(str) + " images",
            problem=cells["problem"].str.partition("-")[0],
            loss=cells["final_train_loss"],
            value=cells[column],
        )

    return measure


def fisher(values: pd.DataFrame) -> pd.DataFrame:
    """Fisher's transform of Spearman's correlation of loss and value, per problem and part."""
    groups = values.groupby(["problem", "part"], sort=True)
    count, pairs = groups.size(), groups[["loss", "value"]].corr(method="spearman")
    correlation = pairs["value"].xs("loss", level=-1).fillna(0.0)  # 0 for a constant
    nearest = 1 - 1 / (count * (count - 1)).clip(lower=2)  # one pair of ranks away from perfect
    table = pd.DataFrame({"n": count, "mean": np.arctanh(correlation.clip(-nearest, nearest))})
    return table.assign(sd=np.nan, error=1.03 / np.sqrt((count - 3).clip(lower=0.1)), df=FAR).reset_index()


def _spread(cells: int) -> float:
    """The spread of which the standard error of the mean of so many cells is that of Fisher's transform."""
    return 1.03 * np.sqrt(cells / max(cells - 3, 0.1))


def _claim(
    name: str, claim: str, source: str, test: str, words: str, column: str, post_hoc: str = ""
) -> Claim:
    """A claim by the study capacity."""
    criterion = Criterion("above", 0.0, float(np.arctanh(STRONG)), words, "rank correlation", scale="tanh")
    return Claim(
        name,
        claim,
        "ours",
        source,
        test,
        criterion,
        _cells(column),
        "capacity",
        unit="cells",
        post_hoc=post_hoc,
        summarise=fisher,
        spread=_spread,
    )


CLAIMS = [
    _claim(
        "capacity-rate",
        "PAL's learning rate decreases only if the network can interpolate its data.",
        "our prototypes; in the paper, all networks interpolate",
        "Spearman's rank correlation over cells (networks of several widths on several numbers of images, equal "
        "epochs) between the final training loss and the final learning rate as a fraction of the highest one.",
        "the correlation of final loss and final / highest rate is {value}",
        "rate_ratio",
    ),
    _claim(
        "capacity-gap",
        "Minima of batch losses stay far from those of the full-batch loss if the network cannot interpolate.",
        "our conjecture, why the learning rate would not decrease",
        "Spearman's rank correlation over the same cells between the final training loss and the median distance from "
        "the full-batch minimum to the batch minimum on lines late in the training.",
        "the correlation of final loss and the distance between the minima is {value}",
        "gap",
        EXCLUDED + "undecided",
    ),
]
