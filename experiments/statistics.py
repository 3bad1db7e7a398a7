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


def block_sums(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Sums over the lines of other trainings like this one: [RESAMPLES, columns], a block bootstrap.

    Consecutive lines are alike, so whole blocks of about sqrt(n) of the n lines of a training are drawn, the same for
    all columns, and their sum is brought to n lines. After the last line comes the first, so that every line is drawn
    as often as the others: on the first ones much more happens than later.

    Args:
        values: [lines, columns].
        random: Where the blocks come from.
    """
    lines = len(values)
    block = round(np.sqrt(lines))
    blocks = -(-lines // block)
    starts = random.integers(lines, size=(RESAMPLES, blocks))
    around = np.concatenate((values, values[:block]))
    sums = np.concatenate((np.zeros((1, values.shape[1])), around.cumsum(axis=0)))
    drawn = (sums[starts + block] - sums[starts]).sum(axis=1)
    return drawn * lines / (block * blocks)
