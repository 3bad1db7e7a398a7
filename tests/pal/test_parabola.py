"""The rule: properties of the parabola through l(0), l'(0) and l(mu)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pal.parabola import Case, minimise

positive = st.floats(1e-3, 1e3)
numbers = st.floats(-1e3, 1e3)
anything = st.floats(allow_nan=True, allow_infinity=True)


def parabola(a, b, c):
    return lambda s: a * s * s + b * s + c


@given(a=positive, b=st.floats(-1e3, -1e-3), mu=st.floats(1e-2, 1e2))
def test_minimum_of_a_strictly_convex_parabola_is_found_for_every_mu(a, b, mu):
    loss = parabola(a, b, 0.0)
    found = minimise(loss(0.0), loss(mu), b, mu)
    noise = 1e-13 * (abs(b) * mu + a * mu * mu) / (a * mu * mu)  # what cancellation leaves of a
    assert found.case == Case.PARABOLA
    assert found.step == pytest.approx(-b / (2 * a), rel=1e-12 + noise)
    assert found.curvature == pytest.approx(2 * a, rel=1e-12 + noise)


@given(a=positive, b=st.floats(-1e3, -1e-3), mu=st.floats(0.1, 10), alpha=st.floats(0.1, 3))
def test_alpha_scales_the_step(a, b, mu, alpha):
    loss = parabola(a, b, 0.0)
    plain, scaled = (minimise(0.0, loss(mu), b, mu, factor) for factor in (1.0, alpha))
    if plain.case == Case.PARABOLA:
        assert scaled.step == pytest.approx(alpha * plain.step)


@given(a=st.floats(-1e3, 0), b=st.floats(-1e3, -1e-3), mu=positive)
def test_falling_lines_without_minimum_keep_the_probe(a, b, mu):
    loss_mu = parabola(a, b, 0.0)(mu)
    found = minimise(0.0, min(loss_mu, b * mu), b, mu)
    assert (found.step, found.case) == (mu, Case.CONCAVE)


@given(loss0=numbers, loss_mu=numbers, slope=st.floats(0, 1e3), mu=positive)
def test_ascending_lines_stay(loss0, loss_mu, slope, mu):
    found = minimise(loss0, loss_mu, slope, mu)
    assert (found.step, found.case, found.clipped) == (0.0, Case.ASCENDING, False)


@given(loss0=anything, loss_mu=anything, slope=anything, mu=positive, s_max=positive)
def test_step_is_a_distance_within_s_max_whatever_comes(loss0, loss_mu, slope, mu, s_max):
    found = minimise(loss0, loss_mu, slope, mu, 1.0, s_max)
    assert 0.0 <= found.step <= s_max
    if not all(map(math.isfinite, (loss0, loss_mu, slope))):
        assert (found.step, found.case) == (0.0, Case.NONFINITE)


@given(loss0=numbers, loss_mu=numbers, slope=numbers, mu=positive, s_max=positive)
def test_clipping_cuts_after_alpha_and_says_so(loss0, loss_mu, slope, mu, s_max):
    free, cut = (minimise(loss0, loss_mu, slope, mu, 1.7, limit) for limit in (math.inf, s_max))
    assert cut.step == min(free.step, s_max)
    assert cut.clipped == (free.step > s_max)
    assert not free.clipped


@given(st.lists(st.tuples(anything, anything, anything), min_size=1, max_size=20), positive, positive)
def test_tensors_give_what_floats_give(lines, mu, s_max):
    loss0, loss_mu, slope = torch.tensor(lines, dtype=torch.float64).unbind(1)
    found = minimise(loss0, loss_mu, slope, torch.tensor(mu, dtype=torch.float64), 1.3, s_max)
    expected = [minimise(*line, mu, 1.3, s_max) for line in lines]
    for ours, theirs in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(
            ours.double(), torch.tensor(theirs, dtype=torch.float64), rtol=1e-15, atol=0.0, equal_nan=True
        )


@pytest.mark.parametrize(
    ("line", "case"),
    [
        ((1.0, 0.5, -1.0), Case.PARABOLA),
        ((1.0, 0.0, -1.0), Case.CONCAVE),
        ((1.0, -1.0, -1.0), Case.CONCAVE),
        ((1.0, 2.0, 0.0), Case.ASCENDING),
        ((1.0, 2.0, 1.0), Case.ASCENDING),
        ((math.nan, 2.0, -1.0), Case.NONFINITE),
        ((1.0, math.inf, -1.0), Case.NONFINITE),
        ((1.0, -math.inf, -1.0), Case.NONFINITE),
        ((1.0, 2.0, math.nan), Case.NONFINITE),
        ((1.0, 2.0, math.inf), Case.NONFINITE),
        ((1.0, 1.0, -1.0, 0.0), Case.NONFINITE),
    ],
)
def test_every_case_is_reached(line, case):
    assert minimise(*(*line, 1.0)[:4]).case == case
