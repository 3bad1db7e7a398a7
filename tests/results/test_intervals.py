"""95 % intervals hold what they promise."""

import numpy as np
import pytest

from experiments.results.tables.intervals import block_sums, mean_interval


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_interval_of_a_mean_covers_it_in_95_of_100_cases_however_few_the_values(count):
    samples = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, count))
    covered = [low < 3.0 < high for low, high in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_a_single_value_has_no_interval():
    assert np.isnan(mean_interval(np.array([1.0]))).all()


def test_blocks_draw_every_line_as_often():
    """Only the first of nine lines has anything."""
    values = np.zeros((9, 1))
    values[0] = 1.0
    sums = block_sums(values, np.random.default_rng(0))
    assert sums.mean() == pytest.approx(1.0, abs=0.03)
    assert sums.min() == 0
    assert sums.max() == 3
