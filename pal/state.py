"""What PAL keeps between steps besides its checkpoint, and how it undoes the rescaling of gradients by others."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import setitem
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pal.closure import BatchLoss
from pal.direction import Direction
from pal.line import on_host, widest_dtype
from pal.parabola import Case, Scalar
from pal.sharding import local


class ProcessGroupHandle:
    """The argument `process_group`. Copies of an optimizer share the group, which cannot be pickled."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group

    def __deepcopy__(self, memo: dict[int, Any]) -> "ProcessGroupHandle":
        return self

    def __reduce__(self) -> Any:
        if self.group is not None:
            raise TypeError(
                "PAL with a process_group cannot be pickled: save its state_dict, construct PAL again with the group, "
                "and load it"
            )
        return ProcessGroupHandle, (None,)


@dataclass
class RuntimeState:
    """What PAL keeps between steps, in one object that is never replaced, since wrappers of the optimizer share it.

    Attributes:
        process_group: the argument `process_group`.
        modules: the argument `modules`.
        check: the argument `check`.
        cases: number of steps that ended in each case; a tensor if the weights are on an accelerator.
        record: fields of the `LineRecord` of the last step.
        attempts: number of steps in which the closure was checked, see `pal.check`.
        direction: the direction over the parameters that had a gradient in the last step.
        active: these parameters.
        layout: all other properties that the direction depends on.
        seen: ids of all parameters that have had a gradient in any step.
        fingerprint: that of the gradient as `backward` left it, if its scale may change before the step.
        batch: the loss of the current batch.
    """

    process_group: ProcessGroupHandle
    modules: list[nn.Module]
    check: bool
    cases: list[int] | Tensor = field(default_factory=lambda: [0] * len(Case))
    record: tuple[Any, ...] | None = None
    attempts: int = 0
    direction: Direction | None = None
    active: list[Tensor] = field(default_factory=list)
    layout: list[Any] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    fingerprint: Tensor | None = None
    batch: BatchLoss = field(default_factory=BatchLoss)

    def invalidate(self) -> None:
        """Discard everything that depends on parameters, groups and state, after these were replaced."""
        self.direction, self.fingerprint, self.attempts, self.record = None, None, 0, None
        self.seen.clear()
        self.batch.reset()
        self.batch.watching = True

    def mark_seen(self, active: Iterable[Tensor]) -> None:
        """Note parameters that have a gradient; if one is new, watch for modules that were not found yet."""
        ids = set(map(id, active))
        self.batch.watching |= not ids <= self.seen
        self.seen |= ids

    def counts(self) -> list[int]:
        """How many steps ended in each case. On an accelerator, this waits for the device."""
        return [int(count) for count in self.cases]

    def prepare_count(self, case: int | Tensor) -> Callable[[], object]:
        """Prepare to increment the count of a case, see `pal.kernels.run`."""
        if isinstance(case, Tensor):
            if not isinstance(self.cases, Tensor):
                self.cases = torch.tensor(self.cases, device=case.device)
            return partial(self.cases.add_, torch.arange(len(Case), device=case.device) == case)
        if isinstance(self.cases, Tensor):
            self.cases = self.counts()
        return partial(setitem, self.cases, int(case), self.cases[int(case)] + 1)


def gradient_fingerprint(params: Iterable[Tensor]) -> Tensor:
    """Norm and sum of each gradient, in the widest type of the device; rescaling a gradient scales both."""
    gradients = [local(param.grad) for param in params if param.grad is not None]
    dtype = widest_dtype(gradients[0])
    numbers = [
        number
        for gradient in gradients
        for number in (torch.linalg.vector_norm(gradient, dtype=dtype), gradient.sum(dtype=dtype))
    ]
    return torch.stack([number.to(numbers[0].device) for number in numbers])


def gradient_rescaling(before: Tensor, now: Tensor) -> float | Tensor:
    """The factor by which a gradient was scaled between two fingerprints; 1 if it changed in any other way."""
    factor = before.dot(now) / before.dot(before)
    scaled = torch.linalg.vector_norm(now - factor * before) <= 1e-2 * torch.linalg.vector_norm(now)
    known = torch.where(scaled & (factor > 0), factor, 1.0)
    return known.item() if on_host(known) else known


def loss_rescaling(gradient: float | Tensor, scale: float | Tensor) -> float | Tensor:
    """The factor for the loss of a step so that it matches its gradient.

    `backward` differentiated `scale` times the loss, and the gradient was multiplied by `gradient` afterwards. A
    GradScaler that unscales divides it by its own scale: that is `scale`, or `scale` times n if accumulation over n
    micro-batches has divided the loss by n. If the gradient is shorter still, it was also clipped, which must not
    affect the loss.
    """
    inverse = 1 / torch.as_tensor(gradient * scale)
    unscaled = (inverse - inverse.round()).abs() <= 1e-3
    factor = torch.where(
        torch.as_tensor(gradient == 1), 1.0, torch.where(unscaled, gradient, 1 / torch.as_tensor(scale))
    )
    return factor.item() if on_host(factor) else factor


def as_tensor(number: Scalar, like: Tensor) -> Tensor:
    """A number of the line as a tensor, as precise as the loss `like` from which it was computed."""
    if isinstance(number, Tensor):
        return number
    return like if number == like.item() else like.new_tensor(number)
