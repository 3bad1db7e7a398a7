"""A check, in the first steps, that the closure is one function of the weights and the gradient is its gradient."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import math
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

INTERNAL = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
"""Folders of code that is not the user's; warnings point to the first frame outside."""

ATTEMPTS = 4
"""Number of steps to try if none is conclusive: where the loss is flat, or too coarse to resolve a small move."""

SLOPE_TOLERANCE = 0.1
"""Relative tolerance between the slope and a finite difference, and among finite differences."""

LOSS_TOLERANCE = 1e-4
"""Relative tolerance between two losses at the same weights; a tenth of the weights' rounding if that is more."""

NOT_ONE_FUNCTION = (
    "the closure is not the same function each time: evaluated twice at the same weights, it returned different "
    "losses. Likely causes: it fetches a new batch at every call; a lambda in a loop sees only the last micro-batch "
    "(write `lambda x=x, y=y: ...`); it changes the batch in place; it uses random numbers or state outside of torch, "
    "NumPy and Python's random; or PAL did not find a module, which modules= can name"
)

ACCUMULATED_ELSEWHERE = (
    "the gradients held those of earlier backward passes, to which the closure adds its own; the optimizer discards "
    "them, since it has no closure for their loss. To accumulate gradients, call backward(closure) for each "
    "micro-batch, then step()"
)


class ClosureWarning(UserWarning):
    """The closure is not one function of the weights, or the gradient is not that of the closure's loss."""


def matches_slope(loss0: float, loss_there: float, slope: float, distance: float) -> bool:
    """Whether the loss at a distance is what the slope predicts."""
    return abs(loss_there - loss0 - slope * distance) <= SLOPE_TOLERANCE * abs(slope * distance)


def check_closure(
    loss_at: Callable[[float], float], loss0: float, slope: float, mu: float, precision: float
) -> bool:
    """Evaluate the line at its origin and slightly further; warn if the losses contradict l(0) or l'(0).

    The first distance changes the loss by the square root of its precision, which is more than rounding and less than
    curvature. If both losses are as expected, the check costs two forward passes. If the second is not, central
    differences at growing distances tell a wrong slope from a line that bends, or from a loss that rounds: only a slope
    that is wrong by the same factor at three distances causes a warning.

    Args:
        loss_at: l(s), for s of both signs.
        loss0: l(0).
        slope: l'(0).
        mu: the largest distance to evaluate.
        precision: relative rounding error of the weights.

    Returns:
        Whether the check was conclusive; if not, repeat it in the next step.
    """
    if not (math.isfinite(loss0) and math.isfinite(slope) and loss0 != 0 and slope != 0):
        return False
    if not abs(loss_at(0.0) - loss0) <= max(LOSS_TOLERANCE, 0.1 * precision) * abs(loss0):
        warn(NOT_ONE_FUNCTION)
        return True
    distance = math.sqrt(precision) * abs(loss0 / slope)
    responds, ratios = False, list[float]()
    while distance <= mu:
        ahead = loss_at(distance)
        if matches_slope(loss0, ahead, slope, distance):
            return True
        behind = loss_at(-distance)
        change, bend = ahead - behind, (ahead + behind) / 2 - loss0
        if not math.isfinite(change):
            return False
        responds |= bool(change or bend)
        if change and abs(bend) <= SLOPE_TOLERANCE * abs(change):
            ratios.append(change / (2 * distance * slope))
            if abs(ratios[-1] - 1) <= SLOPE_TOLERANCE:
                return True
            if three_agree(ratios[-3:]):
                warn_of_wrong_slope(ratios[-1])
                return True
        distance *= 3
    if not responds and abs(slope) * mu > SLOPE_TOLERANCE * abs(loss0) and loss_at(mu) == loss0:
        warn(
            "the loss does not depend on the weights that are moved: the closure must compute it at every call, from "
            "the parameters given to the optimizer"
        )
        return True
    return False


def three_agree(ratios: list[float]) -> bool:
    """Whether there are three ratios, and they agree."""
    last = ratios[-1]
    return len(ratios) == 3 and all(abs(ratio - last) <= SLOPE_TOLERANCE * abs(last) for ratio in ratios)


def warn_of_wrong_slope(ratio: float) -> None:
    """Warn that the loss changes `ratio` times as fast as its gradient predicts."""
    warn(
        f"the gradient is not that of the closure's loss: the loss changes {ratio:.3g} times as fast as the gradient "
        "predicts. Likely causes: gradients are clipped, still scaled (GradScaler) or divided elsewhere before the "
        "step; or part of the forward pass (an encoder, a penalty) is outside the closure. With straight-through "
        "estimators and targets behind detach(), this is intended"
    )


def computed_outside(loss: object, since: int, params: Iterable[Tensor]) -> set[Any]:
    """The nodes through which the loss depends on the weights that seem to have run before the closure was called.

    Other threads count by themselves, so only nodes that also belong to the loss of a further evaluation did so.

    Args:
        loss: what the closure returned.
        since: sequence number of autograd at the call of the closure.
        params: the weights that the optimizer moves.

    Returns:
        The nodes.
    """
    if not isinstance(loss, Tensor) or loss.grad_fn is None:
        return set()
    nodes = ancestors([loss.grad_fn])
    outside = {node for node in nodes if node._sequence_nr() < since}
    moving = set(map(id, params))
    reached = any(id(getattr(node, "variable", None)) in moving for node in ancestors(outside))
    return outside if reached else set()


def warn_if_shared(loss: object, outside: set[Any]) -> bool:
    """Warn if the loss of a further evaluation depends on nodes of the first one, and return whether it does."""
    if not isinstance(loss, Tensor) or loss.grad_fn is None:
        return False
    if not outside.isdisjoint(ancestors([loss.grad_fn])):
        warn(
            "a part of the forward pass (an encoder, a penalty) was computed outside the closure, from weights that "
            "are moved: at the probe it would still be that of the old weights. Compute it inside the closure"
        )
        return True
    return False


def ancestors(nodes: Iterable[Any]) -> set[Any]:
    """Some nodes of the autograd graph, and all nodes that they depend on."""
    seen: set[Any] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending += [each for each, _ in node.next_functions if each is not None]
    return seen


def warn(sentence: str) -> None:
    """Issue a ClosureWarning that points to the user's code, and say how to turn the check off."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INTERNAL):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{sentence}. To turn this check off: check=False", ClosureWarning, stacklevel=level)
