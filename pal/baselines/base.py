"""The base class of line searches: closure, line, record and error handling."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal import kernels
from pal.check import ATTEMPTS, check_closure
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

CHECKED_DISTANCE = 0.1
"""Distance up to which the closure is checked: PAL's default mu."""


def check(settings: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise ValueError if a hyper-parameter is out of range; None, where it is the default, turns one off.

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
    """The batch loss along -m, with m the gradient g or an average of gradients: l(s) = loss(theta - s m/||m||).

    Call it with a distance s to evaluate l(s). All numbers are Python floats.

    Args:
        params: the weights theta.
        m: one tensor for each parameter.
        loss0: l(0).
        reevaluate: returns the batch loss at the current weights.

    Attributes:
        loss0: l(0).
        norm: ||m||.
        slope: l'(0) = -g.m/||m||, loss per distance.
        line: the line through theta along +m.
        m: one tensor for each parameter.
    """

    def __init__(
        self, params: list[Tensor], m: list[Tensor], loss0: Tensor, reevaluate: Callable[[], Tensor]
    ) -> None:
        self.line = Line(params, m)
        self.m = m
        self.loss0 = loss0.item()
        self.norm = float(self.line.norm)
        own = all(param.grad is each for param, each in zip(params, m, strict=True))
        self.slope = -self.norm if own else -_product(params, m) / self.norm if self.norm else 0.0
        self._reevaluate = reevaluate

    def __call__(self, distance: float) -> float:
        """Evaluate l(distance)."""
        self.line.move(-distance)
        return self._reevaluate().item()


def _product(params: list[Tensor], m: list[Tensor]) -> float:
    """g.m over all parameters."""
    return sum(
        float((param.grad * each).sum())
        for param, each in zip(params, m, strict=True)
        if param.grad is not None
    )


class SearchResult(NamedTuple):
    """The distance to move, and other fields of the `LineRecord`; NaN if a search does not measure them."""

    step: float
    loss_mu: float = math.nan
    curvature: float = math.nan
    case: float = math.nan
    clipped: bool = False


class LineSearch(torch.optim.Optimizer):
    """Line search along the negative gradient: theta <- theta - s g/||g||, with s chosen by the loss of the batch.

    The parameters of all groups move along one line. All evaluations of a step use the same random numbers, and
    batch-norm running statistics count the batch once (see `pal.closure`). If the loss or the gradient is not finite,
    the weights stay bitwise unchanged. Each evaluation of the line waits for the device. Only one process is supported.

    Subclasses implement `_search`, which chooses s.

    Args:
        params: parameters or parameter groups.
        settings: hyper-parameters, shared by all groups.
        ranges: their ranges.

    Attributes:
        line: record of the last step; None before the first.

    Raises:
        ValueError: if a hyper-parameter is out of range, or differs between groups.
    """

    def __init__(self, params: ParamsT, settings: dict[str, Any], ranges: Mapping[str, Range]) -> None:
        check(settings, ranges)
        self._start()
        super().__init__(params, settings)

    def _start(self) -> None:
        self.line: LineRecord | None = None
        self._batch = BatchLoss(self._params)
        self._seen: set[int] = set()  # ids of all parameters that have had a gradient
        self._attempts = 0  # number of steps in which the closure was checked, see `pal.check`

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the state of a checkpoint or a pickle."""
        super().__setstate__(state)
        self._start()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the line; their hyper-parameters must be those of the other groups."""
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
        """Take one step. After an error, the weights, the state and everything that the closure reads are as before.

        Args:
            closure: runs the forward pass and returns the loss, a tensor with one element; it need not call backward.

        Returns:
            l(0), detached.

        Raises:
            RuntimeError: if there is no gradient, or this is called from inside the closure.
            TypeError: if the closure does not return one number.
        """
        self._batch.refuse_reentry()
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
        params = self._active()
        descent = Descent(params, self._directions(params), loss0, self._batch.reevaluate)
        lines.append(descent.line)
        finite = math.isfinite(descent.loss0) and math.isfinite(descent.norm)
        found = self._search(descent) if finite else SearchResult(0.0, case=Case.NONFINITE)
        evaluations = self._batch.evaluations
        if evaluations > 1 and self._attempts < ATTEMPTS:
            self._check(descent)
        if found.case == Case.NONFINITE:
            descent.line.restore()
        else:
            self._move(descent, params, found.step)
        self.line = LineRecord.of(
            descent.loss0, found.loss_mu, descent.slope, found.curvature, found.step, descent.norm,
            found.case, found.clipped, evaluations=evaluations,
        )  # fmt: skip
        return kernels.run([self._batch.prepare_reset()], loss0)  # at once, or Ctrl-C would find half a step

    def _check(self, descent: Descent) -> None:
        """Check the closure, from the second step on."""
        precision = max(torch.finfo(param.dtype).eps for param in self._params())
        conclusive = self._attempts and check_closure(
            descent, descent.loss0, descent.slope, CHECKED_DISTANCE, precision
        )
        self._attempts = ATTEMPTS if conclusive else self._attempts + 1

    def _active(self) -> list[Tensor]:
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
            raise RuntimeError(f"{name} searches the line of one process only; PAL supports several")
        ids = set(map(id, params))
        self._batch.watching |= not ids <= self._seen
        self._seen |= ids
        return params

    def _directions(self, params: list[Tensor]) -> list[Tensor]:
        """The direction m against which the weights move, for each parameter: the gradient, unless overridden."""
        return [param.grad for param in params if param.grad is not None]

    def _search(self, descent: Descent) -> SearchResult:
        """Choose the distance to move."""
        raise NotImplementedError

    def _move(self, descent: Descent, params: list[Tensor], distance: float) -> None:  # noqa: ARG002 - for subclasses
        """Move the weights by the distance."""
        descent.line.move(-distance)
