"""What PAL keeps between steps, and what it knows of gradients that others scale and share."""
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
from pal.line import on_host, wide
from pal.parabola import Case, Scalar
from pal.sharding import local


class Processes:
    """The process group that shares a batch, if the user named one. A copy shares it; it cannot be pickled."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group

    def __deepcopy__(self, memo: dict[int, Any]) -> "Processes":
        return self

    def __reduce__(self) -> Any:
        if self.group is not None:
            raise TypeError(
                "PAL with a process_group cannot be pickled: save its state_dict, and name the group where it "
                "is made anew"
            )
        return Processes, (None,)


@dataclass
class Kept:
    """What PAL keeps between steps, in one object that is never replaced: wrappers of the optimizer share it.

    Attributes:
        processes: whose processes share the batch, if named.
        modules: modules that belong to every closure, if named.
        check: whether to look at the closure in the first steps.
        cases: how many steps ended in each case; a tensor where weights are on an accelerator.
        record: numbers of the last step.
        looks: how often the closure was looked at, see `pal.check`.
        direction: over the parameters that had a gradient in the last step.
        present: these parameters.
        layout: everything else that the direction was made for.
        met: parameters that ever had a gradient, by id.
        fingerprint: of the gradient as it was measured, if its scale is not known.
    """

    processes: Processes
    modules: list[nn.Module]
    check: bool
    cases: list[int] | Tensor = field(default_factory=lambda: [0] * len(Case))
    record: tuple[Any, ...] | None = None
    looks: int = 0
    direction: Direction | None = None
    present: list[Tensor] = field(default_factory=list)
    layout: list[Any] = field(default_factory=list)
    met: set[int] = field(default_factory=set)
    fingerprint: Tensor | None = None
    batch: BatchLoss = field(default_factory=BatchLoss)

    def forget(self) -> None:
        """Work out anew what depends on parameters, groups and state."""
        self.direction, self.fingerprint, self.looks, self.record = None, None, 0, None
        self.met.clear()
        self.batch.reset()
        self.batch.watching = True

    def meet(self, present: Iterable[Tensor]) -> None:
        """Look out for new modules if a parameter has a gradient for the first time."""
        numbers = set(map(id, present))
        self.batch.watching |= not numbers <= self.met
        self.met |= numbers

    def counts(self) -> list[int]:
        """How many steps ended in each case. On an accelerator this waits for the device."""
        return [int(count) for count in self.cases]

    def counting(self, case: int | Tensor) -> Callable[[], object]:
        """Prepare to add one to the count of a case, see `pal.kernels.run`."""
        if isinstance(case, Tensor):
            if not isinstance(self.cases, Tensor):
                self.cases = torch.tensor(self.cases, device=case.device)
            return partial(self.cases.add_, torch.arange(len(Case), device=case.device) == case)
        if isinstance(self.cases, Tensor):
            self.cases = self.counts()
        return partial(setitem, self.cases, int(case), self.cases[int(case)] + 1)


def fingerprint(params: Iterable[Tensor]) -> Tensor:
    """Norm and sum of each gradient, in float64 where there is float64: what scaling scales."""
    gradients = [local(param.grad) for param in params if param.grad is not None]
    dtype = wide(gradients[0])
    numbers = [
        number
        for gradient in gradients
        for number in (torch.linalg.vector_norm(gradient, dtype=dtype), gradient.sum(dtype=dtype))
    ]
    return torch.stack([number.to(numbers[0].device) for number in numbers])


def growth(before: Tensor, now: Tensor) -> float | Tensor:
    """By which factor a gradient was scaled between two fingerprints; 1 if anything else happened to it."""
    factor = before.dot(now) / before.dot(before)
    scaled = torch.linalg.vector_norm(now - factor * before) <= 1e-2 * torch.linalg.vector_norm(now)
    known = torch.where(scaled & (factor > 0), factor, 1.0)
    return known.item() if on_host(known) else known


def undone(growth: float | Tensor, seen: float | Tensor) -> float | Tensor:
    """What to multiply the loss of a step by, if its gradient has grown since `seen` times the loss was differentiated.

    A GradScaler that unscales divides by its scale, the whole of `seen` or all but a 1/n of accumulation. A
    gradient that is shorter still was clipped, too, which the loss was not.
    """
    whole = 1 / torch.as_tensor(growth * seen)
    known = (whole - whole.round()).abs() <= 1e-3
    right = torch.where(
        torch.as_tensor(growth == 1), 1.0, torch.where(known, growth, 1 / torch.as_tensor(seen))
    )
    return right.item() if on_host(right) else right


def as_tensor(number: Scalar, like: Tensor) -> Tensor:
    """A number of the line as a tensor, as exact as the loss that it was made of."""
    if isinstance(number, Tensor):
        return number
    return like if number == like.item() else like.new_tensor(number)
