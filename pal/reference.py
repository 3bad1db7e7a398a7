"""PAL as the paper states it: plain float64, slow and obvious. The tests hold `optimizer.py` to it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pal.parabola import Case


class ReferenceStep(NamedTuple):
    """One step of the reference: the new weights, the buffer, and what the line showed."""

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
        loss: the batch loss as a function of the flat weights.
        theta: the weights, [D].
        buffer: m of the step before, [D]; zeros at first.
        mu: measuring step.
        alpha: update step adaptation.
        beta: direction adaptation.
        s_max: maximum step.
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
        return ReferenceStep(
            theta, buffer, loss0, 0.0, norm, Case.NONFINITE
        )  # ours: the paper's code stays at the probe
    if b >= 0:
        case, step = Case.ASCENDING, 0.0
    elif a <= 0:
        case, step = Case.CONCAVE, mu
    else:
        case, step = Case.PARABOLA, -alpha * b / (2 * a)
    step = min(step, s_max)
    return ReferenceStep(probe + (step - mu) * direction, buffer, loss0, step, norm, case)
