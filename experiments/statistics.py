"""Intervals by resampling."""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 10_000


def interval(
    groups: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float] = np.mean
) -> tuple[float, float]:
    """95 % percentile interval of a statistic, resampling whole groups (such as all lines of one training)."""
    random = np.random.default_rng(0)
    draws = random.integers(len(groups), size=(RESAMPLES, len(groups)))
    values = [statistic(np.concatenate([groups[index] for index in draw])) for draw in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
