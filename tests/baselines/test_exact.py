"""Exact line search along PAL's adapted direction."""

import math

import pytest
import torch

from pal import PAL
from pal.baselines.exact import ExactLineSearch


def quadratic(dim=6):
    torch.manual_seed(0)
    factor = torch.randn(dim, dim, dtype=torch.float64)
    matrix = factor @ factor.T / dim + torch.eye(dim, dtype=torch.float64)
    return matrix, torch.randn(dim, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.0, 0.4, 0.9])
def test_on_a_quadratic_it_goes_the_way_of_pal(beta):
    """There PAL's parabola is the line itself, so that both find the same minimum on the same direction."""
    matrix, start = quadratic()
    ways = []
    for kind in (PAL, ExactLineSearch):
        theta = start.clone().requires_grad_()
        optimizer = kind([theta], mu=0.1, beta=beta, s_max=100.0)
        way = []
        for _ in range(8):
            optimizer.step(lambda theta=theta: theta @ matrix @ theta / 2)
            way.append(theta.detach().clone())
        ways.append(torch.stack(way))
    torch.testing.assert_close(*ways, rtol=1e-6, atol=1e-7)


def test_the_slope_of_an_adapted_line_is_that_of_the_loss():
    matrix, theta = quadratic()
    theta.requires_grad_()
    optimizer = ExactLineSearch([theta], beta=0.5)
    for _ in range(3):
        before = theta.detach().clone()
        optimizer.step(lambda: theta @ matrix @ theta / 2)
        unit = (theta.detach() - before) / optimizer.line.step
        slope = float(unit @ (matrix @ before))
        assert math.isclose(optimizer.line.slope.item(), slope, rel_tol=1e-9)
