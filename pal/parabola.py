"""PAL's update rule as one pure function: fit a parabola to three numbers, and step to its minimum.

It works on Python floats and on tensors. On the CPU, floats are twenty times faster than 0-dim tensors. On an
accelerator, reading a number would wait for the device, so every branch is a `torch.where`.
"""

import math
from enum import IntEnum
from typing import NamedTuple, cast

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


def select(condition: bool | Tensor, yes: Scalar, no: Scalar) -> Scalar:
    """Return `yes` where `condition` holds, else `no`, for floats and tensors."""
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


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
    curvature = 2 * excess / select(mu * mu > 0, mu * mu, math.nan)
    finite = curvature - curvature == 0  # false for NaN and infinity, for floats and tensors
    convex = curvature > 0
    descending = slope < 0
    vertex = -alpha * slope / select(convex, curvature, 1.0)
    distance = select(convex, vertex, mu)
    step = select(finite, select(descending, select(distance < s_max, distance, s_max), 0.0), 0.0)
    case = select(descending, select(convex, Case.PARABOLA, Case.CONCAVE), Case.ASCENDING)
    return Minimum(
        step=step,
        curvature=curvature,
        case=cast(int | Tensor, select(finite, case, Case.NONFINITE)),
        clipped=finite & descending & (distance > s_max),
    )
