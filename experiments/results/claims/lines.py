"""Claims about the shape of lines."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured, resampled_mean
from experiments.results.tables.intervals import block_draws


def _of_lines(column: str, explanation: str, statistic: Callable[..., Any] = np.mean) -> Measure:
    """A statistic of a column over the lines of a training, averaged over trainings.

    The interval resamples blocks of lines, since neighbours are alike; it describes these trainings only.
    """

    def measure(evidence: Evidence) -> Measured | None:
        lines = evidence.table("lines", "lines").dropna(subset=[column]).sort_values("at")
        if lines.empty:
            return None
        random = np.random.default_rng(0)
        trainings = lines.groupby(["problem", "seed"])[column]
        draws = [
            statistic(block_draws(values.to_numpy(dtype=float), random), axis=1) for _, values in trainings
        ]
        each = trainings.agg(lambda values: statistic(values.to_numpy(dtype=float)))
        of_problem = each.groupby("problem").mean().to_dict()
        measured = resampled_mean(of_problem, draws, len(lines), explanation)
        return measured._replace(value=float(each.mean()))  # trainings count alike

    return measure


CLAIMS = [
    Claim(
        "lines-convex",
        "Batch losses along the search direction are mostly convex in the neighbourhood of the weights.",
        "abstract [certain]",
        "Fraction of measured lines with no negative second difference between the weights and twice PAL's step, "
        "mean over trainings; all lines count alike, and the first steps are measured more densely. Supported if the "
        "95 % interval (blocks of neighbouring lines resampled) is above one half, contradicted if below.",
        0.5,
        _of_lines("locally_convex", "fraction of lines"),
        "lines",
        "lines/line-shape.png",
    ),
    Claim(
        "lines-parabolic",
        "A parabola through loss, slope and one more loss locates the minimum of the line well.",
        "abstract [certain]; our measure",
        "Median fraction of the possible decrease of the batch loss that PAL's step (alpha = 1) achieves, mean over "
        "trainings. Supported if the interval (blocks of neighbouring lines resampled) is above 0.9, contradicted if "
        "below.",
        0.9,
        _of_lines("improvement", "median over lines", np.median),
        "lines",
    ),
]
