"""What is said of a line, on curves whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from experiments.results.tables.line_shape import fit_error, fits, hull_distance, lower_hull, minima

GRID = np.linspace(-1, 3, 81)
NUMBERS = st.floats(0.1, 10)
LOSSES = st.lists(st.integers(-1000, 1000), min_size=4, max_size=40).map(lambda values: np.array(values) / 64)


@given(curvature=NUMBERS, minimiser=st.floats(0.2, 0.9), offset=st.floats(-3, 3))
def test_a_parabola_is_convex_and_fits_itself(curvature, minimiser, offset):
    losses = curvature / 2 * (GRID - minimiser) ** 2 + offset
    parabola = (curvature / 2, -curvature * minimiser, curvature / 2 * minimiser**2 + offset)
    assert hull_distance(GRID, losses) == pytest.approx(0, abs=1e-9)
    assert minima(losses) == 1
    assert fit_error(GRID, losses, parabola) == pytest.approx(0, abs=1e-9)
    errors = fits(GRID, losses, parabola)
    assert errors["quadratic_error"] == pytest.approx(0, abs=1e-9)
    assert errors["pal_error"] == pytest.approx(0, abs=1e-9)
    assert errors["linear_error"] > 1e-3


@given(losses=LOSSES)
def test_the_hull_is_that_of_scipy(losses):
    distances = np.arange(len(losses), dtype=float)
    bent = np.ptp(losses - np.interp(distances, distances[[0, -1]], losses[[0, -1]]))
    if bent == 0:  # all on one straight line: Qhull refuses it
        assert hull_distance(distances, losses) == 0 or np.ptp(losses) == 0
        return
    hull = ConvexHull(np.column_stack((distances, losses)))
    # The lower facets have normals that point down; the hull is the largest of their planes.
    normals, offsets = hull.equations[:, :2], hull.equations[:, 2]
    down = normals[:, 1] < -1e-12
    planes = -(normals[down, :1] * distances + offsets[down, None]) / normals[down, 1:]
    expected = np.max(losses - planes.max(axis=0)) / np.ptp(losses)
    assert hull_distance(distances, losses) == pytest.approx(expected, abs=1e-9)
    assert {0, len(losses) - 1} <= set(lower_hull(distances, losses))


@given(losses=LOSSES, factor=NUMBERS, slope=st.integers(-3, 3))
def test_distance_from_the_hull_does_not_depend_on_units(losses, factor, slope):
    if not np.ptp(losses):
        return
    distances = np.arange(len(losses), dtype=float)
    found = hull_distance(distances, losses)
    assert 0 <= found <= 1
    assert hull_distance(factor * distances, factor * losses + slope) == pytest.approx(found, abs=1e-9)


def test_how_far_a_tent_and_a_bump_are_from_convex():
    assert hull_distance(GRID, -np.abs(GRID - 1)) == pytest.approx(1)
    bump = (GRID - 1) ** 2 + 0.2 * np.exp(-(((GRID - 0.4) / 0.1) ** 2))
    assert 0.02 < hull_distance(GRID, bump) < 0.06
    assert minima(bump) == 2


def test_losses_that_are_flat_or_not_finite_have_no_distance_and_no_fit():
    losses = (GRID - 0.5) ** 2
    losses[-3:] = np.inf, np.nan, np.inf
    parabola = (1.0, -1.0, 0.25)
    assert np.isnan(hull_distance(GRID, losses))
    assert np.isnan(hull_distance(GRID, np.ones(81)))
    assert np.isnan(fit_error(GRID, losses, parabola))
    assert np.isnan(fits(GRID, losses, parabola)["linear_error"])
    assert minima(losses) == 1


@given(slope=st.floats(-5, 5), other=NUMBERS)
def test_a_straight_line_is_fitted_by_a_line(slope, other):
    errors = fits(GRID, slope * GRID + 1, (other, slope, 1.0))
    assert errors["linear_error"] == pytest.approx(0, abs=1e-9)
    assert errors["pal_error"] == pytest.approx(other * np.mean(GRID**2))


def test_the_fit_error_is_the_excess_over_the_best_parabola_in_units_of_the_range():
    losses = np.cos(GRID)
    shifted = (*np.polyfit(GRID, losses, 2)[:2], np.polyfit(GRID, losses, 2)[2] + 1.0)
    best = np.mean(np.abs(np.polyval(np.polyfit(GRID, losses, 2), GRID) - losses))
    mine = np.mean(np.abs(np.polyval(shifted, GRID) - losses))
    assert fit_error(GRID, losses, shifted) == pytest.approx((mine - best) / np.ptp(losses))


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
    assert minima(losses) == count
