"""A look, at the first steps that can, whether a closure and its gradient belong to one function of the weights."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import math
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OURS = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
"""Where code is that users have not written."""

ATTEMPTS = 4
"""Steps to look at if none can tell: where the loss is flat, or too coarse to show a small move."""

AGREEMENT = 0.1
"""How far a slope may be from its finite difference, and from other such slopes, relative."""

REPEATED = 1e-4
"""How far a loss may be from l(0) at the same weights, relative, and in tenths of the rounding of the weights."""


class ClosureWarning(UserWarning):
    """A closure does not compute one function of the weights, or the gradient is that of another function."""


def fits(loss0: float, loss_there: float, slope: float, distance: float) -> bool:
    """Whether the loss at a distance is where the slope points, so that there is nothing to suspect."""
    return abs(loss_there - loss0 - slope * distance) <= AGREEMENT * abs(slope * distance)


def can_tell(
    loss_at: Callable[[float], float], loss0: float, slope: float, mu: float, precision: float
) -> bool:
    """Evaluate the line at its origin and a little further; warn if this does not fit l(0) and l'(0).

    The move changes the loss by the root of its precision, which is more than rounding and less than curvature. If all
    is well that takes two forward passes. If the second does not fit, a third on the other side of the origin tells a
    wrong slope from a line that bends, or a loss that rounds. A slope must be wrong alike at three distances.

    Args:
        loss_at: l(s), for s of both signs.
        loss0: l(0).
        slope: l'(0).
        mu: the largest distance to look at.
        precision: relative rounding of the weights.

    Returns:
        Whether a judgement was possible; if not, ask again at the next step.
    """
    if not (math.isfinite(loss0) and math.isfinite(slope) and loss0 != 0 and slope != 0):
        return False
    if not abs(loss_at(0.0) - loss0) <= max(REPEATED, 0.1 * precision) * abs(loss0):
        warn_of_another_function()
        return True
    distance = math.sqrt(precision) * abs(loss0 / slope)
    responds, ratios = False, list[float]()
    while distance <= mu:
        ahead = loss_at(distance)
        if fits(loss0, ahead, slope, distance):
            return True
        behind = loss_at(-distance)
        change, bend = ahead - behind, (ahead + behind) / 2 - loss0
        if not math.isfinite(change):
            return False
        responds |= bool(change or bend)
        if change and abs(bend) <= AGREEMENT * abs(change):
            ratios.append(change / (2 * distance * slope))
            if abs(ratios[-1] - 1) <= AGREEMENT:
                return True
            if agree(ratios[-3:]):
                warn_of_another_slope(ratios[-1])
                return True
        distance *= 3
    if not responds and abs(slope) * mu > AGREEMENT * abs(loss0) and loss_at(mu) == loss0:
        warn(
            "the loss does not depend on the weights that are moved: the closure must compute it anew at "
            "every call, from "
            "the parameters given to the optimizer"
        )
        return True
    return False


def agree(ratios: list[float]) -> bool:
    """Whether there are three, and alike."""
    last = ratios[-1]
    return len(ratios) == 3 and all(abs(ratio - last) <= AGREEMENT * abs(last) for ratio in ratios)


def warn_of_another_function() -> None:
    """The losses at one point differ."""
    warn(
        "the closure is not the same function each time: at the same weights the loss is another one. Likely "
        "causes: it "
        "fetches a new batch at every call, a lambda in a loop sees the last micro-batch only (write `lambda x=x, y=y: "
        "...`), the batch is changed in place, random numbers or state from outside of torch, numpy and "
        "Python's random go "
        "on. Modules that cannot be found in the closure are named by modules="
    )


def warn_of_another_slope(ratio: float) -> None:
    """The loss does not change as the gradient says."""
    warn(
        f"the gradient is not that of the closure's loss: the loss changes {ratio:.3g} times as fast as the "
        f"gradient says. "
        "Likely causes: gradients are clipped, still scaled (GradScaler) or divided elsewhere before the "
        "step, a part of "
        "the forward pass (an encoder, a penalty) stands outside of the closure; or it is meant so, as with "
        "straight-through estimators and targets that stop the gradient"
    )


def warn_of_foreign_gradients() -> None:
    """The closure calls backward, and somebody had called it before."""
    warn(
        "the gradients held those of earlier backward passes, which the closure adds to; the optimizer drops them, "
        "since it knows no closure for their loss. To accumulate, let it evaluate every micro-batch: "
        "backward(closure) for each, then step()"
    )


def warn_if_begun_outside(loss: object, since: int, params: Iterable[Tensor]) -> bool:
    """Warn, and tell, if the loss was computed from weights that move by operations of before the closure was called.

    Args:
        loss: what the closure returned.
        since: autograd's sequence number when it was called.
        params: the weights.
    """
    if not isinstance(loss, Tensor) or loss.grad_fn is None:
        return False
    nodes = reachable([loss.grad_fn])
    outside = reachable([node for node in nodes if node._sequence_nr() < since])
    moving = set(map(id, params))
    if any(id(getattr(node, "variable", None)) in moving for node in outside):
        warn(
            "a part of the forward pass (an encoder, a penalty) was computed outside of the closure, from "
            "weights that are "
            "moved: at the probe it would be that of the old weights. Compute it inside of the closure"
        )
        return True
    return False


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
    """Say it where the user's code calls, with the way to switch it off."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{sentence}. To switch this check off: check=False", ClosureWarning, stacklevel=level)
