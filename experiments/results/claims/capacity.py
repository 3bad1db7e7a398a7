"""Claims about networks that can or cannot fit their data."""

import numpy as np
from scipy.stats import rankdata

from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured
from experiments.results.tables.intervals import interval

FEWEST = 4
"""The minimum number of networks and numbers of images for a rank correlation."""


def _correlation(column: str, explanation: str) -> Measure:
    """Rank correlation of the final training loss with a column, over trainings.

    The interval resamples pairs of network and number of images, since seeds of the same pair are alike.
    """

    def judge(evidence: Evidence) -> Measured | None:
        runs = evidence.table("capacity", "runs").dropna(subset=["final_train_loss", column])
        pairs = [
            group[["final_train_loss", column]].to_numpy() for _, group in runs.groupby(["problem", "images"])
        ]
        if len(pairs) < FEWEST:
            return None
        value = spearman(np.concatenate(pairs))
        return Measured(value, *interval(pairs, spearman), len(runs), explanation)

    return judge


def spearman(pairs: np.ndarray) -> float:
    """Rank correlation of the two columns; 0 if one of them is constant."""
    first, second = map(rankdata, pairs.T)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


CLAIMS = [
    Claim(
        "capacity-rate",
        "PAL's learning rate decreases only if the network can interpolate its data.",
        "our prototypes; in the paper, all networks interpolate",
        "Spearman's rank correlation over trainings of networks of several widths on several numbers of images, "
        "between the final training loss and the final learning rate as a fraction of the highest one (medians over "
        "twentieths of the training). Supported if the 95 % interval (networks with their images resampled) is above "
        "0, contradicted if below.",
        0.0,
        _correlation("rate_ratio", "rank correlation with final / highest rate"),
        "capacity",
    ),
    Claim(
        "capacity-gap",
        "Minima of batch losses stay far from those of the full-batch loss if the network cannot interpolate.",
        "our conjecture, why the learning rate would not decrease",
        "Spearman's rank correlation over the same trainings, between the final training loss and the median distance "
        "from the full-batch minimum to the batch minimum on lines late in the training. Supported if the interval "
        "(networks with their images resampled) is above 0, contradicted if below.",
        0.0,
        _correlation("gap", "rank correlation with the distance between minima"),
        "capacity",
    ),
]
