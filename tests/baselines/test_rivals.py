"""Newer methods against what their authors' implementations computed."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rivals import CASES, FILE, PROBLEMS, STEPS

from pal import PAL
from pal.baselines import SPS, AliG, DecSPS, ExactLineSearch, MoMo, PoNoS
from pal.parabola import Case

METHODS = {"ponos": PoNoS, "sps": SPS, "decsps": DecSPS}


def trajectory(optimizer, weights, loss) -> dict[str, np.ndarray]:
    losses, rates = [], []
    for step in range(STEPS):
        losses.append(optimizer.step(lambda step=step: loss(step, weights)).item())
        rates.append(optimizer.line.learning_rate.item())
    theta = torch.cat([weight.detach().flatten() for weight in weights]).numpy()
    return {"loss": np.array(losses), "rate": np.array(rates), "theta": theta}


@pytest.mark.parametrize("case", CASES)
def test_follows_the_published_trajectory(case):
    method, name, settings = CASES[case]
    problem = PROBLEMS[name]()
    weights = problem.weights()
    ours = trajectory(METHODS[method](weights, **settings), weights, problem.loss)
    with np.load(FILE) as published:
        for array, values in ours.items():
            np.testing.assert_allclose(values, published[f"{case}/{array}"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"lr": 0.05, "beta": 0.5}, {"lr": 10.0, "beta": 0.0}])
@pytest.mark.parametrize("name", PROBLEMS)
def test_momo_goes_the_way_of_its_authors_package(name, settings):
    momo = pytest.importorskip("momo")
    problem = PROBLEMS[name]()
    weights, theirs = problem.weights(), problem.weights()
    ours = trajectory(MoMo(weights, **settings), weights, problem.loss)
    package, losses = momo.Momo(theirs, **settings), []
    for step in range(STEPS):
        package.zero_grad()
        loss = problem.loss(step, theirs)
        loss.backward()
        losses.append(package.step(loss=loss).item())
    np.testing.assert_allclose(ours["loss"], losses, rtol=1e-9, atol=1e-12)
    for a, b in zip(weights, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


ALL = METHODS | {"momo": MoMo}
CURVATURES = st.floats(0.2, 100.0)


def bowl(curvature: float, optimizer_of, steps: int) -> list[float]:
    """Distances from the minimum of curvature x² / 2, starting at 1, where l / g² = 1 / (2 curvature) everywhere."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_of([x])
    distances = [1.0]
    for _ in range(steps):
        optimizer.step(lambda: curvature * x.square().sum() / 2)
        distances.append(x.item())
    return distances


@given(CURVATURES)
def test_sps_with_half_the_loss_jumps_to_the_minimum_of_a_parabola(curvature):
    reached = bowl(curvature, lambda params: SPS(params, init_step_size=10.0), 1)[1]
    assert reached == pytest.approx(0, abs=1e-6)


@given(CURVATURES)
def test_the_steps_of_decsps_shrink_with_the_root_of_their_number(curvature):
    expected = np.cumprod([1.0, *(1 - 0.5 / math.sqrt(k + 1) for k in range(8))])
    assert bowl(curvature, DecSPS, 8) == pytest.approx(expected)


@given(st.integers(1, 100))  # whole numbers, so that no try meets the condition with equality
def test_ponos_backtracks_from_the_polyak_step_size_until_the_loss_falls_enough(curvature):
    tries = min(10, 5 / curvature) * 0.5 ** np.arange(20)  # l / (0.1 g²) = 5 / curvature, and its halves
    enough = (1 - curvature * tries) ** 2 <= 1 - 2 * 0.4 * curvature * tries
    reached = bowl(curvature, lambda params: PoNoS(params, c=0.4, xi=0.0), 1)[1]
    assert reached == pytest.approx(1 - curvature * tries[enough][0], abs=1e-6)


@given(CURVATURES, st.floats(1e-3, 10.0))
def test_momo_without_momentum_is_alig(curvature, lr):
    ours = bowl(curvature, lambda params: MoMo(params, lr=lr, beta=0.0), 5)
    assert ours == pytest.approx(bowl(curvature, lambda params: AliG(params, max_lr=lr, eps=1e-300), 5))


def test_momo_goes_on_where_the_mean_of_the_tangents_says():
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = MoMo([theta], lr=100.0, beta=0.5)
    optimizer.step(lambda: theta.square().sum())  # l = 1, g = 2: theta = 1 - 2 * 1/4
    assert theta.item() == 0.5
    optimizer.step(lambda: theta.square().sum())  # tangents 2 x - 1, x - 1/4: mean 1/8 at 0.5, and d = 3/2
    assert theta.item() == pytest.approx(0.5 - 0.125 / 1.5)


ADAPTED = ALL | {"exact": partial(ExactLineSearch, beta=0.5), "pal": partial(PAL, beta=0.5)}


@pytest.mark.parametrize("name", ADAPTED)
def test_batches_without_slope_or_finite_loss_leave_no_trace(name):
    problem = PROBLEMS["classification"]()
    undisturbed, disturbed = problem.weights(), problem.weights()
    one, other = ADAPTED[name](undisturbed), ADAPTED[name](disturbed)
    for step in range(6):
        one.step(lambda step=step: problem.loss(step, undisturbed))
        other.step(lambda step=step: problem.loss(step, disturbed) * math.nan)
        other.step(lambda step=step: problem.loss(step, disturbed))
    assert all(torch.equal(a, b) for a, b in zip(undisturbed, disturbed, strict=True))
    groups = [{k: v for k, v in each.param_groups[0].items() if k != "params"} for each in (one, other)]
    assert groups[0] == groups[1]


@pytest.mark.parametrize("name", ALL)
def test_at_a_minimum_nothing_moves_and_training_goes_on_after_it(name):
    problem = PROBLEMS["least-squares"]()
    weights = problem.weights()
    optimizer = ALL[name](weights)
    before = weights[0].detach().clone()
    optimizer.step(lambda: (weights[0] - before).square().sum())
    assert torch.equal(weights[0], before)
    for step in range(STEPS):
        optimizer.step(lambda step=step: problem.loss(step, weights))
    assert problem.loss(0, weights) < 0.1 * problem.loss(0, problem.weights())


def line(offset: float) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
    """A weight at 2 and a loss of slope 1 there."""
    x = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    return x, lambda: x.sum() - 2 + offset


@pytest.mark.parametrize("name", ALL)
def test_a_loss_of_zero_is_the_minimum(name):
    x, loss = line(0.0)
    ALL[name]([x]).step(loss)
    assert x == 2


@pytest.mark.parametrize("name", ALL)
def test_no_loss_below_zero_makes_a_step_go_uphill(name):
    x, loss = line(-3.0)
    ALL[name]([x]).step(loss)
    assert x.item() == pytest.approx(2 - 1e-6 * (name == "ponos"), abs=1e-12)  # its smallest step size


def test_ponos_takes_its_smallest_step_where_every_try_fails():
    x, loss = line(1.0)
    optimizer = PoNoS([x], delta=0.9)
    optimizer.step(lambda: loss() + 5 * (x != 2).sum())
    assert x.item() == pytest.approx(2 - 1e-6, abs=1e-12)
    assert optimizer.param_groups[0]["backtracks"] == 98


def test_momo_stays_where_products_with_the_weights_overflow():
    start = torch.full((2,), 1e25)
    x = start.clone().requires_grad_()
    optimizer = MoMo([x])
    optimizer.step(lambda: (1e18 * (x - start)).sum() + 1)
    assert torch.equal(x, start)
    assert optimizer.line.case == Case.NONFINITE
    assert not optimizer.state[x]
