"""The parabola through three numbers and the step to its minimum: PAL's rule, as one pure function.

Everything here works on Python floats and on tensors alike. On the CPU reading a number costs nothing, and floats are
twenty times quicker than 0-dim tensors; on an accelerator nothing may be read back, and every branch is a `where`.
"""

import math
from enum import IntEnum
from typing import NamedTuple, cast

import torch
from torch import Tensor

Scalar = float | Tensor
"""A Python float, or a 0-dim tensor that nobody reads during a step."""


class Case(IntEnum):
    """What the line looked like, and so which rule gave the step."""

    PARABOLA = 0
    """l'(0) < 0 and positive curvature: the step goes to the minimum of the parabola, times alpha."""
    CONCAVE = 1
    """l'(0) < 0 and no positive curvature: the step is mu."""
    ASCENDING = 2
    """l'(0) >= 0: the weights stay where they are."""
    NONFINITE = 3
    """A loss, the slope or the curvature was NaN or infinite: the weights stay where they are."""


class Minimum(NamedTuple):
    """Where a line's parabola sends the weights.

    Attributes:
        step: distance along the unit direction, in weight space.
        curvature: l'' = 2a, loss per squared distance.
        case: code of the `Case`.
        clipped: whether s_max cut the step.
    """

    step: Scalar
    curvature: Scalar
    case: int | Tensor
    clipped: bool | Tensor


def select(condition: bool | Tensor, yes: Scalar, no: Scalar) -> Scalar:
    """Give `yes` where `condition` holds, else `no`, for floats and tensors."""
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
    * any number NaN or infinite, or mu zero: s = 0;

    and in every case s <= s_max, cut after alpha. Source: Mutschler and Zell, NeurIPS 2020 (arXiv:1903.11991),
    section 4 and appendix B; the last case is ours.

    Args:
        loss0: l(0), loss.
        loss_mu: l(mu), loss.
        slope: l'(0), loss per distance, along the unit direction.
        mu: measuring step, distance, >= 0; 0 measures nothing.
        alpha: update step adaptation, > 0, no unit.
        s_max: maximum step, distance, >= 0.

    Returns:
        The step with the curvature and the case; tensors where `slope` is a tensor (any shape), else numbers.

    >>> minimise(loss0=4.0, loss_mu=2.25, slope=-4.0, mu=0.5)  # l(s) = (s - 2)²
    Minimum(step=2.0, curvature=2.0, case=<Case.PARABOLA: 0>, clipped=False)
    >>> minimise(loss0=0.0, loss_mu=-2.0, slope=-1.0, mu=1.0, s_max=0.5)
    Minimum(step=0.5, curvature=-2.0, case=<Case.CONCAVE: 1>, clipped=True)
    """
    excess = loss_mu - loss0 - slope * mu  # a mu²
    area = select(mu * mu > 0, mu * mu, math.nan)
    curvature = 2 * excess / area
    known = curvature - curvature == 0  # false for NaN and infinity, in whatever number
    convex = curvature > 0
    descending = slope < 0
    vertex = -alpha * slope / select(convex, curvature, 1.0)
    reach = select(convex, vertex, mu)
    step = select(known, select(descending, select(reach < s_max, reach, s_max), 0.0), 0.0)
    case = select(descending, select(convex, Case.PARABOLA, Case.CONCAVE), Case.ASCENDING)
    return Minimum(
        step=step,
        curvature=curvature,
        case=cast(int | Tensor, select(known, case, Case.NONFINITE)),
        clipped=known & descending & (reach > s_max),
    )
