"""PAL's update rule as one pure function: fit a parabola to three numbers, and step to its minimum.

It works on Python floats and on tensors. On the CPU, floats are twenty times faster than 0-dim tensors. On an
accelerator, reading a number would wait for the device, so there every branch is a `torch.where`.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

Scalar = float | Tensor
"""A Python float, or a 0-dim tensor that is not read during a step."""


class Case(IntEnum):
    """Shape of the line, which decides on the rule for the step."""

    PARABOLA = 0
    """l'(0) < 0 and positive curvature: the step is alpha times the distance to the minimum of the parabola."""
    CONCAVE = 1
    """l'(0) < 0 and no positive curvature: the step is mu."""
    ASCENDING = 2
    """l'(0) >= 0: the weights do not move."""
    NONFINITE = 3
    """A loss, the slope or the curvature was NaN or infinite: the weights do not move."""


class Minimum(NamedTuple):
    """The step to the minimum of the parabola.

    Attributes:
        step: distance along the unit direction, in weight space.
        curvature: l'' = 2a, loss per squared distance.
        case: value of `Case`.
        clipped: whether s_max limited the step.
    """

    step: Scalar
    curvature: Scalar
    case: int | Tensor
    clipped: bool | Tensor


def minimise(
    loss0: Scalar,
    loss_mu: Scalar,
    slope: Scalar,
    mu: Scalar,
    alpha: float = 1.0,
    s_max: Scalar = float("inf"),
) -> Minimum:
    """Fit l(s) = a s² + b s + c to l(0), l(mu) and b = l'(0), and step to its minimum.

    a = (l(mu) - l(0) - b mu) / mu², and then

    * a > 0, b < 0: s = -alpha b / (2a);
    * a <= 0, b < 0: s = mu;
    * b >= 0: s = 0;
    * any number NaN or infinite, or mu = 0: s = 0.

    In every case s is limited to s_max, after the multiplication by alpha.

    Source: Mutschler and Zell, NeurIPS 2020, arXiv:1903.11991, section 4 and appendix B; the last case is ours.

    Args:
        loss0: l(0), loss.
        loss_mu: l(mu), loss.
        slope: l'(0), loss per distance, along the unit direction.
        mu: measuring step size, distance, >= 0. With 0 there is no curvature, and the step is 0.
        alpha: update step adaptation, > 0, dimensionless.
        s_max: maximum step size, distance, >= 0.

    Returns:
        Step, curvature, case and clipping: tensors of its shape if `slope` is a tensor, else numbers.

    >>> minimise(loss0=4.0, loss_mu=2.25, slope=-4.0, mu=0.5)  # l(s) = (s - 2)²
    Minimum(step=2.0, curvature=2.0, case=<Case.PARABOLA: 0>, clipped=False)
    >>> minimise(loss0=0.0, loss_mu=-2.0, slope=-1.0, mu=1.0, s_max=0.5)
    Minimum(step=0.5, curvature=-2.0, case=<Case.CONCAVE: 1>, clipped=True)
    """
    excess = loss_mu - loss0 - slope * mu  # a mu²
    if isinstance(excess, Tensor):
        return _minimise_without_branches(excess, slope, mu, alpha, s_max)
    curvature = 2 * excess / (mu * mu) if mu * mu > 0 else math.nan
    if not math.isfinite(curvature):
        return Minimum(0.0, curvature, Case.NONFINITE, False)
    if slope >= 0:
        return Minimum(0.0, curvature, Case.ASCENDING, False)
    distance = -alpha * slope / curvature if curvature > 0 else mu
    case = Case.PARABOLA if curvature > 0 else Case.CONCAVE
    return Minimum(min(distance, s_max), curvature, case, distance > s_max)


def _minimise_without_branches(
    excess: Tensor, slope: Scalar, mu: Scalar, alpha: float, s_max: Scalar
) -> Minimum:
    """`minimise` for numbers that are not read, as every branch would read one."""
    slope, square = (n if isinstance(n, Tensor) else excess.new_full((), n) for n in (slope, mu * mu))
    curvature = 2 * excess / torch.where(square > 0, square, math.nan)
    finite, convex, descending = curvature.isfinite(), curvature > 0, slope < 0
    distance = torch.where(convex, -alpha * slope / torch.where(convex, curvature, 1.0), mu)
    moves = finite & descending
    case = torch.where(descending, torch.where(convex, Case.PARABOLA, Case.CONCAVE), Case.ASCENDING)
    return Minimum(
        step=torch.where(moves, torch.where(distance < s_max, distance, s_max), 0.0),
        curvature=curvature,
        case=torch.where(finite, case, Case.NONFINITE),
        clipped=moves & (distance > s_max),
    )
