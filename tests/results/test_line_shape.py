"""What is said of a line, on curves whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.results.tables.line_shape import fits, minima, shape

GRID = np.linspace(-1, 3, 81)
NUMBERS = st.floats(0.1, 10)


@given(curvature=NUMBERS, minimiser=st.floats(0.2, 0.9), offset=st.floats(-3, 3))
def test_of_a_parabola_everything_is_known(curvature, minimiser, offset):
    losses = curvature / 2 * (GRID - minimiser) ** 2 + offset
    parabola = (curvature / 2, -curvature * minimiser, curvature / 2 * minimiser**2 + offset)
    found = shape(GRID, losses, 1.0, minimiser, parabola)
    assert found["locally_convex"] == found["convex_fraction"] == found["interior"] == found["minima"] == 1
    assert found["minimiser"] == pytest.approx(minimiser, rel=1e-6)
    assert found["step_error"] == pytest.approx(0, abs=1e-5)
    assert found["improvement"] == pytest.approx(1, abs=0.05)  # l(step) is read between grid points
    assert found["parabola_error"] == pytest.approx(0, abs=1e-6)
    errors = fits(GRID, losses, parabola)
    assert errors["quadratic_error"] == pytest.approx(0, abs=1e-9)
    assert errors["pal_error"] == pytest.approx(0, abs=1e-9)
    assert errors["linear_error"] > 1e-3


@given(slope=st.floats(-5, 5), other=NUMBERS)
def test_a_straight_line_is_fitted_by_a_line(slope, other):
    errors = fits(GRID, slope * GRID + 1, (other, slope, 1.0))
    assert errors["linear_error"] == pytest.approx(0, abs=1e-9)
    assert errors["pal_error"] == pytest.approx(other * np.mean(GRID**2))


@pytest.mark.parametrize(
    ("losses", "count"),
    [
        (np.cos(2 * np.pi * GRID), 4),
        (GRID, 0),
        (-(GRID**2), 0),
        (np.where(np.abs(GRID - 1) < 0.5, 0.0, np.abs(GRID - 1)), 1),
        (GRID**2 + 1e-9 * np.sin(50 * GRID), 1),
    ],
    ids=["cosine", "rising", "concave", "flat bottom", "rounding"],
)
def test_local_minima_are_counted_beyond_rounding(losses, count):
    assert minima(losses, 1e-6) == count


def test_a_bump_before_the_minimum_is_not_convex():
    losses = (GRID - 1) ** 2 + 0.2 * np.exp(-(((GRID - 0.4) / 0.1) ** 2))
    found = shape(GRID, losses, 1.0, 1.0, (1.0, -2.0, 1.0))
    assert found["locally_convex"] == 0
    assert found["minima"] == 2
    assert 0.8 < found["convex_fraction"] < 1


def test_losses_that_are_not_finite_are_not_convex_and_have_no_fit():
    distances = np.linspace(-1, 3, 41)
    losses = (distances - 0.5) ** 2
    losses[-3:] = np.inf, np.nan, np.inf
    found = shape(distances, losses, 1.0, 0.5, (1.0, -1.0, 0.25))
    assert found["minimiser"] == pytest.approx(0.5)
    assert found["locally_convex"] == 1
    assert found["convex_fraction"] < 1
    assert np.isnan(fits(distances, losses, (1.0, -1.0, 0.25))["linear_error"])
