"""PAL as stated in the paper: slow, obvious, in float64. The tests compare `pal.optimizer` with it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pal.parabola import Case


class ReferenceStep(NamedTuple):
    """Result of one step: the new weights and m, and the measurements on the line."""

    theta: Tensor
    buffer: Tensor
    loss0: float
    step: float
    norm: float
    case: Case


def reference_step(
    loss: Callable[[Tensor], Tensor],
    theta: Tensor,
    buffer: Tensor,
    *,
    mu: float = 0.1,
    alpha: float = 1.0,
    beta: float = 0.0,
    s_max: float = 3.16,
) -> ReferenceStep:
    """One step of PAL (algorithm 2 of arXiv:1903.11991) on a flat float64 vector.

    m <- beta m + g, d = -m / ||m||, l(s) = loss(theta + s d).

    Args:
        loss: the batch loss as a function of the flattened weights.
        theta: the weights, [D].
        buffer: m of the previous step, [D]; zeros at first.
        mu: measuring step size.
        alpha: update step adaptation.
        beta: direction adaptation.
        s_max: maximum step size.
    """
    point = theta.detach().double().requires_grad_()
    value = loss(point)
    (gradient,) = torch.autograd.grad(value, point)
    loss0 = value.item()

    buffer = beta * buffer + gradient
    norm = math.sqrt(buffer.square().sum().item()) or 1e-10
    direction = -buffer / norm
    b = gradient.dot(direction).item()

    probe = theta + mu * direction
    with torch.no_grad():
        loss_mu = loss(probe).item()
    a = (loss_mu - loss0 - b * mu) / mu**2

    if not (math.isfinite(a) and math.isfinite(b)):
        # Our choice: the paper's code leaves the weights at the probe.
        return ReferenceStep(theta, buffer, loss0, 0.0, norm, Case.NONFINITE)
    if b >= 0:
        case, step = Case.ASCENDING, 0.0
    elif a <= 0:
        case, step = Case.CONCAVE, mu
    else:
        case, step = Case.PARABOLA, -alpha * b / (2 * a)
    step = min(step, s_max)
    return ReferenceStep(probe + (step - mu) * direction, buffer, loss0, step, norm, case)
