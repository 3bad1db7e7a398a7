"""Claims about the shape of lines."""

from collections.abc import Callable

import numpy as np

from experiments.claims.verdict import Claim, Evidence, Measure, Measured
from experiments.statistics import interval


def _of_lines(column: str, explanation: str, statistic: Callable[[np.ndarray], float] = np.mean) -> Measure:
    """A statistic of a column over all lines; the interval resamples trainings, since lines of one are alike."""

    def measure(evidence: Evidence) -> Measured | None:
        lines = evidence.table("lines", "lines")
        values = lines.assign(value=lines[column].astype(float)).dropna(subset=["value"])
        if values.empty:
            return None
        groups = [group["value"].to_numpy() for _, group in values.groupby(["problem", "seed"])]
        whole = np.concatenate(groups)
        return Measured(float(statistic(whole)), *interval(groups, statistic), len(whole), explanation)

    return measure


CLAIMS = [
    Claim(
        "lines-convex",
        "Batch losses along the search direction are mostly convex in the neighbourhood of the weights.",
        "abstract [certain]",
        "Share of measured lines with no negative second difference between the weights and twice PAL's step. "
        "Supported if the 95 % interval (trainings resampled) is above one half, contradicted if below.",
        0.5,
        _of_lines("locally_convex", "share of lines"),
        "lines",
        "lines/line-shape.png",
    ),
    Claim(
        "lines-parabolic",
        "A parabola through loss, slope and one more loss is well suited to find the minimum of the line.",
        "abstract [certain]; our measure",
        "Median share of the achievable decrease of the batch loss that PAL's step (alpha = 1) reaches. Supported if "
        "the interval is above 0.9, contradicted if below.",
        0.9,
        _of_lines("improvement", "median over lines", np.median),
        "lines",
        "lines/",
    ),
]
