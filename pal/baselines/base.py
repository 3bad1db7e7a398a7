"""What line searches along the negative gradient share: the closure, the line, the record."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.check import ATTEMPTS, can_tell
from pal.closure import BatchLoss, Closure
from pal.line import Line, LineRecord
from pal.parabola import Case

Range = tuple[Callable[[float], bool], str]
POSITIVE: Range = (lambda value: 0 < value < math.inf, "a finite number > 0")
NOT_NEGATIVE: Range = (lambda value: 0 <= value < math.inf, "a finite number >= 0")
FRACTION: Range = (lambda value: 0 < value < 1, "a number > 0 and < 1")
MOMENTUM: Range = (lambda value: 0 <= value < 1, "a number >= 0 and < 1")
LIMIT: Range = (lambda value: value > 0, "a number > 0, or infinity")
COUNT: Range = (lambda value: value >= 1 and value % 1 == 0, "a whole number >= 1")
WHOLE: Range = (lambda value: value >= 0 and value % 1 == 0, "a whole number >= 0")

LARGEST_LOOK = 0.1
"""Distance up to which the line is looked at to see whether the closure is one function: PAL's usual mu."""


def check(settings: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise ValueError with one sentence if a setting is out of its range; None where a setting is off.

    >>> check({"lr": -1.0}, {"lr": POSITIVE})
    Traceback (most recent call last):
    ...
    ValueError: lr must be a finite number > 0, got -1.0
    """
    for name, (valid, allowed) in ranges.items():
        value = settings[name]
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not valid(value)
        ):
            raise ValueError(f"{name} must be {allowed}, got {value!r}")


class Descent:
    """The batch loss against a direction m, the gradient g or a mean of gradients, in Python floats.

    l(s) = loss(theta - s m/||m||).

    Attributes:
        loss0: l(0).
        norm: ||m||.
        slope: l'(0) = -g.m/||m||, loss per distance.
        line: the line along +m.
        m: m, one tensor for each parameter.
    """

    def __init__(
        self, params: list[Tensor], m: list[Tensor], loss0: Tensor, again: Callable[[], Tensor]
    ) -> None:
        self.line = Line(params, m)
        self.m = m
        self.loss0 = loss0.item()
        self.norm = float(self.line.norm)
        own = all(param.grad is each for param, each in zip(params, m, strict=True))
        self.slope = -self.norm if own else -_product(params, m) / self.norm if self.norm else 0.0
        self._again = again

    def __call__(self, distance: float) -> float:
        """l(distance)."""
        self.line.move(-distance)
        return self._again().item()


def _product(params: list[Tensor], m: list[Tensor]) -> float:
    """g.m over all parameters."""
    return sum(
        float((param.grad * each).sum())
        for param, each in zip(params, m, strict=True)
        if param.grad is not None
    )


class Found(NamedTuple):
    """How far to go, and what a search learned on the way; NaN where a search has no such number."""

    step: float
    loss_mu: float = math.nan
    curvature: float = math.nan
    case: float = math.nan
    clipped: bool = False


class LineSearch(torch.optim.Optimizer):
    """theta <- theta - s g/||g||, with s found on the line that starts at theta, for the same batch.

    All parameters of all groups move on one line; each evaluation draws the same random numbers, and norm statistics
    count the batch once (see `pal.closure`). If the loss or the gradient is not finite, the weights stay, bit by bit.
    Every evaluation of the line waits for the device. Made for one process.

    Subclasses say in `_search` how to find s.

    Args:
        params: parameters or parameter groups.
        settings: what all groups share.
        ranges: what the settings may be.

    Attributes:
        line: record of the last step; None before the first.

    Raises:
        ValueError: if a setting is out of range, or a group wants one of its own.
    """

    def __init__(self, params: ParamsT, settings: dict[str, Any], ranges: Mapping[str, Range]) -> None:
        check(settings, ranges)
        self._start()
        super().__init__(params, settings)

    def _start(self) -> None:
        self.line: LineRecord | None = None
        self._batch = BatchLoss(self._params)
        self._met: set[int] = set()  # parameters that ever had a gradient
        self._looks = 0  # how often the closure was looked at, see `pal.check`

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint or a pickle."""
        super().__setstate__(state)
        self._start()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the line."""
        for name in self.defaults:
            if param_group.setdefault(name, self.defaults[name]) != self.defaults[name]:
                raise ValueError(
                    f"{name} must be the same in all parameter groups, which move on one line; "
                    f"got {self.defaults[name]!r} and {param_group[name]!r}"
                )
        super().add_param_group(param_group)

    @torch._disable_dynamo
    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step. An error leaves weights, settings and everything that the closure reads as they were.

        Args:
            closure: runs the forward pass and returns the loss; the rest is done here.

        Returns:
            l(0), detached.
        """
        self._batch.refuse_inside()
        settings = [dict(group) for group in self.param_groups]
        states = {param: dict(state) for param, state in self.state.items()}
        lines: list[Line] = []
        try:
            return self._step(closure, lines)
        except BaseException:
            for line in lines:
                line.restore()
            for group, before in zip(self.param_groups, settings, strict=True):
                group.update(before)
            self.state.clear()
            self.state.update(states)
            self._batch.roll_back()
            raise

    def _step(self, closure: Closure, lines: list[Line]) -> Tensor:
        loss0 = self._batch.measure(closure)
        params = self._present()
        descent = Descent(params, self._directions(params), loss0, self._batch.again)
        lines.append(descent.line)
        found = self._find(descent)
        evaluations = self._batch.evaluations
        if evaluations > 1 and self._looks < ATTEMPTS:
            self._look(descent)
        if found.case == Case.NONFINITE:
            descent.line.restore()
        else:
            self._move(descent, params, found.step)
        self.line = LineRecord.of(
            descent.loss0, found.loss_mu, descent.slope, found.curvature, found.step, descent.norm,
            found.case, found.clipped, evaluations=evaluations,
        )  # fmt: skip
        self._batch.reset()
        return loss0

    def _look(self, descent: Descent) -> None:
        """See whether the closure is what it must be; only from the second step on."""
        precision = max(torch.finfo(param.dtype).eps for param in self._params())
        told = self._looks and can_tell(descent, descent.loss0, descent.slope, LARGEST_LOOK, precision)
        self._looks = ATTEMPTS if told else self._looks + 1

    def _present(self) -> list[Tensor]:
        """The parameters that have a gradient."""
        name = type(self).__name__
        params = [param for param in self._params() if param.grad is not None]
        if not params:
            raise RuntimeError(
                f"no parameter given to {name} has a gradient: the loss does not depend on any of them"
            )
        if any(param.grad is not None and param.grad.layout is not torch.strided for param in params):
            raise RuntimeError(
                f"{name} does not support sparse gradients: build embeddings with sparse=False"
            )
        processes = self._batch.process_group
        if processes is not None and processes.size() > 1:
            raise RuntimeError(
                f"{name} searches the line of one process only; PAL shares a line between processes"
            )
        numbers = set(map(id, params))
        self._batch.watching |= not numbers <= self._met
        self._met |= numbers
        return params

    def _find(self, descent: Descent) -> Found:
        if not (math.isfinite(descent.loss0) and math.isfinite(descent.norm)):
            return Found(0.0, case=Case.NONFINITE)
        return self._search(descent)

    def _directions(self, params: list[Tensor]) -> list[Tensor]:
        """What to go against: the gradient, or what a subclass makes of it."""
        return [param.grad for param in params if param.grad is not None]

    def _search(self, descent: Descent) -> Found:
        """Find the distance to go."""
        raise NotImplementedError

    def _move(self, descent: Descent, params: list[Tensor], distance: float) -> None:  # noqa: ARG002 - for subclasses
        """Go there."""
        descent.line.move(-distance)
