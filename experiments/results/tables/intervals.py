"""95 % intervals of means over a few trainings, and of sums over the lines of one."""

import math

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


def _blocks(lines: int, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """First lines of the drawn blocks, [RESAMPLES, blocks] with at least `lines` lines in all, and their length."""
    block = round(np.sqrt(lines))
    return random.integers(lines, size=(RESAMPLES, -(-lines // block))), block
