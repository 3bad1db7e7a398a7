"""95 % intervals: of means over a few trainings, and by resampling."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtrit  # the quantile of Student's t; importing scipy.stats takes a second

RESAMPLES = 10_000


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of the mean of independent values; NaN for fewer than two.

    Resampling two or three values never goes beyond their range, which misses the mean in every second or fourth case.
    """
    if len(values) < 2:
        return math.nan, math.nan
    reach = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


def interval(groups: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """Percentile interval of a statistic by resampling whole groups, such as all trainings of one network."""
    random = np.random.default_rng(0)
    draws = random.integers(len(groups), size=(RESAMPLES, len(groups)))
    values = [statistic(np.concatenate([groups[index] for index in draw])) for draw in draws]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def block_sums(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Bootstrap samples of sums over the lines of a training, [RESAMPLES, columns], by blocks of lines.

    Consecutive lines are alike, so whole blocks of about sqrt(n) of the n lines are drawn, the same for all columns,
    and their sum is scaled to n lines. Blocks wrap around from the last line to the first, so that all lines are drawn
    equally often: much more happens on the first ones than later.

    Args:
        values: [lines, columns].
        random: Generator that draws the blocks.
    """
    lines = len(values)
    starts, block = _blocks(lines, random)
    around = np.concatenate((values, values[:block]))
    sums = np.concatenate((np.zeros((1, values.shape[1])), around.cumsum(axis=0)))
    drawn = (sums[starts + block] - sums[starts]).sum(axis=1)
    return drawn * lines / (block * starts.shape[1])


def block_draws(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Bootstrap samples of the lines of a training, [RESAMPLES, lines], by blocks as in `block_sums`.

    Args:
        values: [lines].
        random: Generator that draws the blocks.
    """
    lines = len(values)
    starts, block = _blocks(lines, random)
    places = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :lines]
    return values[places % lines]


def _blocks(lines: int, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """First lines of the drawn blocks, [RESAMPLES, blocks] with at least `lines` lines in all, and their length."""
    block = round(np.sqrt(lines))
    return random.integers(lines, size=(RESAMPLES, -(-lines // block))), block
