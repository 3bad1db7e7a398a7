"""The multi-tensor kernels of torch.optim: one call for many tensors. Private in torch, so kept in one place."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from operator import call
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.utils import parametrize

Call = Callable[[], object]

SGD = partial(
    torch._fused_sgd_, momentum=0.0, dampening=0.0, nesterov=False, maximize=False, is_first_step=False
)
"""SGD's fused kernel, without momentum."""

Result = TypeVar("Result")


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Each target <- its source."""
    torch._foreach_copy_(targets, sources)


def add_(targets: list[Tensor], others: list[Tensor], factor: float) -> None:
    """Each target <- target + factor other."""
    torch._foreach_add_(targets, others, alpha=factor)


def multiply_(targets: list[Tensor], others: list[Tensor]) -> None:
    """Each target <- target * other."""
    torch._foreach_mul_(targets, others)


def clear_gradients(params: Iterable[Tensor]) -> None:
    """Set all gradients to None."""
    deque(map(setattr, params, repeat("grad"), repeat(None)), 0)


def copying(targets: list[Tensor], sources: list[Tensor]) -> Call:
    """Prepare `copy_`."""
    return partial(torch._foreach_copy_, targets, sources)


def descent(
    targets: list[Tensor], direction: list[Tensor], scale: float, decay: float, fused: bool
) -> list[Call]:
    """Prepare: each target <- target - scale (direction + decay target), for a scale that is a finite number.

    Args:
        fused: use SGD's fused kernel, which takes memory as it lies: float32 or float64, without gaps, with the same
            strides in target and direction.
    """
    if fused:
        increment_version(targets)  # the kernel leaves the version counters alone, and caches go by them
        return [_fused(targets, direction, scale, decay, None)]
    if targets[0].itemsize < 4:  # where the scale may be beyond the range of its numbers
        return [
            partial(_move_one, *pair, scale, decay, None) for pair in zip(targets, direction, strict=True)
        ]
    shrink = [partial(torch._foreach_mul_, targets, 1 - scale * decay)] if decay else []
    return [*shrink, partial(torch._foreach_add_, targets, direction, alpha=-scale)]


def adapted_descent(
    targets: list[Tensor],
    gradients: list[Tensor],
    m: list[Tensor],
    scale: float,
    beta: float,
    decay: float,
    maximize: bool,
) -> Call:
    """Prepare, in one kernel: m <- beta m + gradient + decay target, then each target <- target - scale m.

    The gradient's sign is turned with `maximize`. For memory as `descent` with `fused` takes it.
    """
    increment_version(targets)
    increment_version(m)
    keywords = {"lr": scale, "weight_decay": decay, "momentum": beta, "maximize": maximize}
    return partial(SGD, targets, gradients, m, **keywords)


def shrinking(targets: list[Tensor], share: float | Tensor) -> Call:
    """Prepare: each target <- (1 - share) target, with the share cut to [0, 1]."""
    if isinstance(share, Tensor):
        return partial(torch._foreach_mul_, targets, 1 - share.to(targets[0].device).clamp(0, 1))
    return partial(torch._foreach_mul_, targets, 1 - min(max(share, 0.0), 1.0))


def masked_descent(
    targets: list[Tensor],
    direction: list[Tensor],
    scale: Tensor | float,
    decay: float,
    still: Tensor,
    fused: bool,
) -> list[Call]:
    """Prepare the same on an accelerator, where nothing may be read: nothing happens where `still` is 1."""
    if fused:
        increment_version(targets)
        return [_fused(targets, direction, scale, decay, still)]
    return [partial(_move_one, *pair, scale, decay, still) for pair in zip(targets, direction, strict=True)]


def _fused(
    targets: list[Tensor], direction: list[Tensor], scale: Tensor | float, decay: float, still: Tensor | None
) -> Call:
    # found_inf is what makes the kernel leave everything alone
    return partial(SGD, targets, direction, [], lr=scale, weight_decay=decay, found_inf=still)


def _move_one(target: Tensor, d: Tensor, scale: Tensor | float, decay: float, still: Tensor | None) -> None:
    wide = torch.promote_types(target.dtype, torch.float32)
    old, d = target.to(wide), d.to(wide)
    moved = old - scale * (d + decay * old if decay else d)
    target.copy_(moved if still is None else torch.where(still > 0, target, moved))


def stale_caches() -> list[Call]:
    """Prepare to forget what was computed from the weights before they moved and is kept without looking at them."""
    return [torch.clear_autocast_cache, parametrize._cache.clear]  # which torch replaces now and then


def run(calls: Iterable[Call], result: Result) -> Result:
    """Run prepared kernels and give the result, with no Python in between: Ctrl-C comes before or after."""
    return (deque(map(call, calls), 0), result)[1]
