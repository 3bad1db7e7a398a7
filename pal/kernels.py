"""The multi-tensor kernels behind torch.optim, which update many tensors in one call.

Torch keeps them private, so only this module uses them. Functions named `prepare_...` return calls that are executed
later by `run`: whatever can fail or be interrupted happens before the first weight changes.
"""
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
"""The fused kernel of SGD, without momentum unless given."""

Result = TypeVar("Result")


def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """target <- source, for each pair."""
    torch._foreach_copy_(targets, sources)


def multiply_(targets: list[Tensor], others: list[Tensor]) -> None:
    """target <- target * other, for each pair."""
    torch._foreach_mul_(targets, others)


def clear_gradients(params: Iterable[Tensor]) -> None:
    """Set all gradients to None."""
    deque(map(setattr, params, repeat("grad"), repeat(None)), 0)


def prepare_copy(targets: list[Tensor], sources: list[Tensor]) -> Call:
    """Prepare `copy_`."""
    return partial(torch._foreach_copy_, targets, sources)


def prepare_descent(
    targets: list[Tensor], direction: list[Tensor], scale: float, decay: float, fused: bool
) -> list[Call]:
    """Prepare target <- target - scale (direction + decay target), for a finite scale that is a Python number.

    Args:
        targets: tensors to update in place.
        direction: one tensor for each target.
        scale: step size.
        decay: factor of the targets themselves.
        fused: whether to use the fused kernel of SGD. It ignores strides, so it needs float32 or float64, dense
            memory, and the same strides in target and direction.
    """
    if fused:
        increment_version(targets)  # the kernel does not, and caches rely on version counters
        return [_fused(targets, direction, scale, decay, None)]
    if targets[0].itemsize < 4:  # the scale may be outside the range of half precision
        return [
            partial(_move_one, *pair, scale, decay, None) for pair in zip(targets, direction, strict=True)
        ]
    shrink = [partial(torch._foreach_mul_, targets, 1 - scale * decay)] if decay else []
    return [*shrink, partial(torch._foreach_add_, targets, direction, alpha=-scale)]


def prepare_sums(
    targets: list[Tensor], sources: list[Tensor], direction: list[Tensor], scale: float
) -> list[Call]:
    """Prepare target <- source + scale direction, in one pass over the memory where a copy and a move take two."""
    return [
        partial(torch.add, source, d, alpha=scale, out=target)
        for target, source, d in zip(targets, sources, direction, strict=True)
    ]


def prepare_momentum_descent(
    targets: list[Tensor],
    gradients: list[Tensor],
    m: list[Tensor],
    scale: float,
    beta: float,
    decay: float,
    maximize: bool,
) -> Call:
    """Prepare m <- beta m + gradient + decay target, then target <- target - scale m, in one kernel.

    `maximize` flips the sign of the gradient. Memory must be laid out as for `prepare_descent` with `fused`.
    """
    increment_version(targets)
    increment_version(m)
    keywords = {"lr": scale, "weight_decay": decay, "momentum": beta, "maximize": maximize}
    return partial(SGD, targets, gradients, m, **keywords)


def prepare_shrink(targets: list[Tensor], share: float | Tensor) -> Call:
    """Prepare target <- (1 - share) target, with the share clamped to [0, 1]."""
    if isinstance(share, Tensor):
        return partial(torch._foreach_mul_, targets, 1 - share.to(targets[0].device).clamp(0, 1))
    return partial(torch._foreach_mul_, targets, 1 - min(max(share, 0.0), 1.0))


def prepare_masked_descent(
    targets: list[Tensor],
    direction: list[Tensor],
    scale: Tensor | float,
    decay: float,
    skip: Tensor,
    fused: bool,
) -> list[Call]:
    """Prepare the same for a scale on an accelerator, which must not be read: nothing changes where `skip` is 1."""
    if fused:
        increment_version(targets)
        return [_fused(targets, direction, scale, decay, skip)]
    return [partial(_move_one, *pair, scale, decay, skip) for pair in zip(targets, direction, strict=True)]


def _fused(
    targets: list[Tensor], direction: list[Tensor], scale: Tensor | float, decay: float, skip: Tensor | None
) -> Call:
    # where found_inf is 1, the kernel changes nothing
    return partial(SGD, targets, direction, [], lr=scale, weight_decay=decay, found_inf=skip)


def _move_one(target: Tensor, d: Tensor, scale: Tensor | float, decay: float, skip: Tensor | None) -> None:
    wide = torch.promote_types(target.dtype, torch.float32)
    old, d = target.to(wide), d.to(wide)
    moved = old - scale * (d + decay * old if decay else d)
    target.copy_(moved if skip is None else torch.where(skip > 0, target, moved))


def prepare_clear_caches() -> list[Call]:
    """Prepare to clear the caches that hold functions of the old weights and do not notice that these moved."""
    return [torch.clear_autocast_cache, parametrize._cache.clear]  # looked up now: torch replaces the cache


def run(calls: Iterable[Call], result: Result) -> Result:
    """Execute prepared calls and return the result; Ctrl-C cannot interrupt, as no Python code runs in between."""
    return (deque(map(call, calls), 0), result)[1]
