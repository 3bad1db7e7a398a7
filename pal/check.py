"""A look, at the first steps that can tell, whether a closure and its gradient belong to one function of the weights."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor

ATTEMPTS = 4
"""Steps to look at if none can tell: where the loss is flat, or too coarse to show a small move."""

AGREEMENT = 0.1
"""How far a slope may be from its finite difference, and from other such slopes, relative."""

SUFFICIENT = 0.1
"""The relative change of the loss that the slope promises up to mu, and that must show."""


class ClosureWarning(UserWarning):
    """A closure does not compute one function of the weights, or the gradient is that of another function."""


class Probe(NamedTuple):
    """The losses at -e and e: their mean as a multiple of l(0), and their slope as a multiple of l'(0)."""

    level: float
    slope: float


def fits(loss0: float, loss_mu: float, slope: float, mu: float) -> bool:
    """Whether l(mu) is where the slope points, so that there is nothing to suspect."""
    return abs(loss_mu - loss0 - slope * mu) <= AGREEMENT * abs(slope * mu)


def can_tell(
    loss_at: Callable[[float], float], loss0: float, slope: float, mu: float, precision: float
) -> bool:
    """Evaluate the line a little before and behind its origin; warn if this does not fit l(0) and l'(0).

    The move changes the loss by the root of its precision, which is more than rounding and less than curvature. If all
    is well that takes two forward passes. A suspicion must show alike at three distances, or it was rounding.

    Args:
        loss_at: l(s), for s of both signs.
        loss0: l(0).
        slope: l'(0).
        mu: the largest distance to look at.
        precision: relative rounding of the numbers that the loss is made of.

    Returns:
        Whether a judgement was possible; if not, ask again at the next step.
    """
    if not (math.isfinite(loss0) and math.isfinite(slope) and loss0 != 0 and slope != 0):
        return False
    distance = math.sqrt(precision) * abs(loss0 / slope)
    tolerance = min(10 * math.sqrt(precision), AGREEMENT)
    suspicious: list[Probe] = []
    while distance <= mu:
        behind, before = loss_at(-distance), loss_at(distance)
        probe = Probe((behind + before) / (2 * loss0), (before - behind) / (2 * distance * slope))
        if not math.isfinite(probe.level + probe.slope):
            return False
        if abs(probe.level - 1) <= tolerance and abs(probe.slope - 1) <= AGREEMENT:
            return True
        if not behind == before == loss0:
            suspicious.append(probe)
            if said(suspicious[-3:], tolerance):
                return True
        distance *= 3
    if not suspicious and abs(slope) * mu > SUFFICIENT * abs(loss0) and loss_at(mu) == loss0:
        warn(
            "the loss does not depend on the weights that are moved: the closure must compute it anew at every call, from "
            "the parameters given to the optimizer"
        )
        return True
    return False


def said(probes: list[Probe], tolerance: float) -> bool:
    """Warn if three probes show the same fault; whether they do."""
    if len(probes) < 3:
        return False
    if all(abs(probe.level - 1) > tolerance for probe in probes):
        warn(
            f"the closure is not the same function each time: at the same weights the loss is {probes[0].level:.4g} times "
            "what it was. Likely causes: it fetches a new batch at every call, a lambda in a loop sees the last "
            "micro-batch only (write `lambda x=x, y=y: ...`), the batch is changed in place, random numbers or state "
            "from outside of torch, numpy and Python's random are drawn anew"
        )
        return True
    ratio = probes[-1].slope
    if all(abs(probe.slope - ratio) <= AGREEMENT * max(abs(ratio), AGREEMENT) for probe in probes):
        warn(
            f"the gradient is not that of the closure's loss: the loss changes {ratio:.3g} times as fast as the gradient "
            "says. Likely causes: gradients are clipped, still scaled (GradScaler) or divided elsewhere before the step, a "
            "part of the forward pass (an encoder, a penalty) stands outside of the closure; or it is meant so, as with "
            "straight-through estimators and targets that stop the gradient"
        )
        return True
    return False


def warn_if_begun_outside(loss: object, since: int, params: Iterable[Tensor]) -> None:
    """Warn if the loss was computed from weights that move by operations of before the closure was called.

    Args:
        loss: what the closure returned.
        since: autograd's sequence number when it was called.
        params: the weights.
    """
    if not isinstance(loss, Tensor) or loss.grad_fn is None:
        return
    nodes = reachable([loss.grad_fn])
    outside = reachable([node for node in nodes if node._sequence_nr() < since])
    moving = set(map(id, params))
    if any(id(getattr(node, "variable", None)) in moving for node in outside):
        warn(
            "a part of the forward pass (an encoder, a penalty) was computed outside of the closure, from weights that are "
            "moved: at the probe it would be that of the old weights. Compute it inside of the closure"
        )


def reachable(nodes: Iterable[Any]) -> set[Any]:
    """The nodes and all that they lead to in the graph of autograd."""
    seen: set[Any] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending += [each for each, _ in node.next_functions if each is not None]
    return seen


def warn(sentence: str) -> None:
    """Say it once, with the way to switch it off."""
    warnings.warn(f"{sentence}. To switch this check off: check=False", ClosureWarning, stacklevel=6)
