"""Claims about batch sizes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured, resampled_mean
from experiments.results.tables.batchsize import STRATEGIES, means, resampled, sizes_of

Statistic = Callable[[np.ndarray, list[int]], np.ndarray]
"""A statistic of means over lines, last axes [sizes, strategies]."""


def _of_means(measure: str, statistic: Statistic, explanation: str) -> Measure:
    """A statistic of the means over the lines of each problem, averaged over problems."""

    def judge(evidence: Evidence) -> Measured | None:
        lines = evidence.table("batchsize", "strategies")
        groups = dict(iter(lines.groupby("problem")))
        if not groups:
            return None
        values: dict[Any, Any] = {
            name: statistic(means(group, measure), sizes_of(group)) for name, group in groups.items()
        }
        random = np.random.default_rng(0)  # one for all, so that problems are resampled independently
        draws = [statistic(resampled(group, measure, random), sizes_of(group)) for group in groups.values()]
        return resampled_mean(values, draws, len(lines) // len(STRATEGIES), explanation)

    return judge


def per_doubling(values: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Least-squares slope of values over log2 of the batch size, which is the last axis."""
    places = np.log2(sizes) - np.mean(np.log2(sizes))
    return values @ places / (places @ places)


def _growth_per_doubling(improvements: np.ndarray, sizes: list[int], strategy: str) -> np.ndarray:
    """Growth of the improvement of a strategy, as a fraction of that of the optimum at the largest size."""
    possible = improvements[..., -1, STRATEGIES.index("optimum")]
    return per_doubling(improvements[..., STRATEGIES.index(strategy)], sizes) / possible


def growth(improvements: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Growth of PAL's improvement."""
    return _growth_per_doubling(improvements, sizes, "pal")


def less_sensitive(improvements: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Growth of the improvement of SGD at 0.1, minus that of PAL."""
    return _growth_per_doubling(improvements, sizes, "sgd-0.1") - growth(improvements, sizes)


def nearer(distances: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Decrease per doubling of the distance by which the batch minimum overshoots the optimum."""
    return per_doubling(distances[..., STRATEGIES.index("exact")], sizes)


SOURCE = "arXiv:2103.17132, supplement, figures 9 and 10 [read off]; batches below 128 simulated there"

CLAIMS = [
    Claim(
        "batchsize-growth",
        "PAL's full-batch improvement per line grows with the batch size.",
        SOURCE,
        "At the same weights of an SGD training: mean decrease of the full-batch loss by PAL's step (mu 0.1) from "
        "fresh batches, fitted over log2 of their size; growth per doubling, as a fraction of the largest possible "
        "decrease with the largest batches, mean over problems. Supported if the 95 % interval (blocks of lines "
        "resampled) is above 0, contradicted if below.",
        0.0,
        _of_means("improvement", growth, "fraction of the largest possible decrease per doubling"),
        "batchsize",
    ),
    Claim(
        "batchsize-sensitivity",
        "PAL is less sensitive to the batch size than SGD at 0.1.",
        SOURCE,
        "The same growth per doubling for SGD at 0.1, minus that for PAL, on the same lines. Supported if the interval "
        "(blocks of lines resampled) is above 0, contradicted if below.",
        0.0,
        _of_means("improvement", less_sensitive, "fraction of the largest possible decrease per doubling"),
        "batchsize",
    ),
    Claim(
        "batchsize-overshoot",
        "Exact minima of the batch loss overshoot the full-batch minimum less with larger batches.",
        "arXiv:2103.17132 [batch minimum overshoots]; growth with size: our conjecture",
        "Distance of the full-batch minimum minus that of the batch minimum, mean over lines, fitted over log2 of the "
        "batch size; change per doubling, mean over problems. Supported if the interval (blocks of lines resampled) is "
        "above 0, contradicted if below.",
        0.0,
        _of_means("distance", nearer, "distance per doubling"),
        "batchsize",
    ),
]
