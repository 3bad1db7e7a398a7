"""PAL: a direction, a line and a parabola."""

import math
from collections.abc import Sequence
from operator import is_
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.closure import Backward, BatchLoss, Closure, plain_backward
from pal.direction import Direction
from pal.line import LineRecord
from pal.parabola import Case, Scalar, minimise
from pal.randomness import Twins, capturing
from pal.settings import check, check_shared


class PAL(torch.optim.Optimizer):
    r"""Parabolic approximation line search: a step to the minimum of a parabola through three numbers.

    With the gradient g of the batch loss, m <- beta m + g, d = -m and l(s) = loss(theta + s d/||d||),

    * measure l(0), b = l'(0) = g.d/||d|| and l(mu): one forward and backward pass, one more forward pass;
    * a = (l(mu) - l(0) - b mu) / mu²;
    * s = min(-alpha b / (2a), s_max); s = min(mu, s_max) if a <= 0; s = 0 if b >= 0;
    * theta <- theta + s d/||d||.

    All parameters of all groups move on this one line. The second forward pass sees the same function as the first: the
    same dropout masks, norm statistics updated once. If a loss, the slope or the curvature is NaN or infinite, the
    weights stay, bit by bit. Nothing is read from an accelerator during a step.

    Args:
        params: parameters or parameter groups; groups may differ in weight decay.
        mu: measuring step, distance in weight space, > 0.
        alpha: update step adaptation, > 0.
        beta: direction adaptation, >= 0; the paper uses 0 and 0.4.
        s_max: maximum step, distance in weight space, > 0, may be infinite.
        lr: factor on mu and s_max, there for torch's learning-rate schedulers; a tensor stays adjustable in a captured
            CUDA graph.
        weight_decay: factor of the weight decay, >= 0: weight_decay/2 ||theta||² is part of the loss, as in the paper.
        decoupled_weight_decay: instead, theta <- (1 - weight_decay s/||d||) theta beside the step, unseen by the line.
        maximize: go up instead of down; the record then describes the line of minus the loss.
        foreach: whether one kernel serves many parameters; slower without. Default: yes.
        process_group: whose processes share the batch. Default: that of the DistributedDataParallel module seen in the
            closure; needed only where gradients are averaged in another way.

    Raises:
        ValueError: if an argument is out of range, or groups disagree on a setting of the line.

    Source: Mutschler and Zell, NeurIPS 2020, arXiv:1903.11991, algorithm 2. Weight decay beside the line, and what
    happens to NaN, are ours.

    >>> weights = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = PAL([weights], mu=0.1)
    >>> optimizer.step(lambda: weights.square().sum())
    tensor(5.)
    >>> Case(int(optimizer.line.case)).name, round(float(optimizer.line.step), 3)
    ('PARABOLA', 2.236)
    """

    def __init__(
        self,
        params: ParamsT,
        mu: float = 0.1,
        alpha: float = 1.0,
        beta: float = 0.0,
        s_max: float = 3.16,
        *,
        lr: float | Tensor = 1.0,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "mu": mu,
            "alpha": alpha,
            "beta": beta,
            "s_max": s_max,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
        }
        check(defaults)
        self._process_group = process_group
        self._start()
        super().__init__(params, defaults)
        self.param_groups[0]["cases"] = [0, 0, 0, 0]

    def _start(self) -> None:
        self._batch = BatchLoss()
        self._loss0 = torch.zeros(())
        self._direction: Direction | None = None
        self._layout: tuple[list[Any], list[Tensor]] = [], []  # what the direction was made for
        self._met: set[tuple[int, ...]] = set()  # which parameters ever had gradients together
        self._trusted = False  # whether a closure has passed the checks of the first step
        self._record: tuple[Any, ...] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state, of a checkpoint or a pickle; what was worked out from the old one is worked out anew."""
        self.__dict__.setdefault("_process_group", None)
        super().__setstate__(state)
        self._start()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the line; only their weight decay may differ."""
        super().add_param_group(param_group)
        try:
            check(self.param_groups[-1])
            check_shared(self.param_groups)
        except ValueError:
            self.param_groups.pop()
            raise

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and forget what `backward` began."""
        self._batch.reset()
        super().zero_grad(set_to_none)

    def backward(self, closure: Closure, call: Backward = plain_backward) -> Tensor:
        """Evaluate the loss of a batch and its gradient, for a `step` without closure to come.

        For loops that do something between the backward pass and the step. Calls before one step add up: gradient
        accumulation, each micro-batch with its share of the loss.

        Args:
            closure: runs the forward pass and returns the loss; called again by `step`, at the probe.
            call: how to call backward on the loss, such as `accelerator.backward`.

        Returns:
            The loss, detached.
        """
        if not len(self._batch):
            for group in self.param_groups:
                for param in group["params"]:
                    param.grad = None
        loss = self._batch.measure(closure, call if self._trusted else self._distrustful(call))
        self._loss0 = loss if len(self._batch) == 1 else self._loss0 + loss
        return loss

    def _distrustful(self, call: Backward) -> Backward:
        first = not len(self._batch)

        def checked(loss: Tensor) -> Any:
            if first and any(
                param.grad is not None for group in self.param_groups for param in group["params"]
            ):
                raise RuntimeError(
                    "the closure must not call backward: it returns the loss, and PAL does the rest"
                )
            return call(loss)

        return checked

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> Twins:
        """Prepare the capture of a step in a CUDA graph whose closure draws random numbers, as dropout does.

        Call it after warming up and before the capture. Captured draws come from generators of their own.

        Returns:
            Those generators. Their `replay` replays the graph with the draws that an eager step would see, and leaves
            torch's generators where it would.
        """
        return self._batch.register_graph(graph)

    def step(self, closure: Closure | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move the weights to the minimum of the line's parabola.

        Args:
            closure: runs the forward pass and returns the loss, a tensor with one element, without calling backward.
                It is called twice, with gradients at the weights and without at the probe. None if `backward` was
                called for the batch.

        Returns:
            l(0), detached, weight decay in the loss included.

        Raises:
            RuntimeError: if there is no closure, no gradient, or a loss that does not depend on the weights.
            TypeError: if the closure does not return one number.
        """
        if closure is not None:
            self.backward(closure)
        if not len(self._batch):
            raise RuntimeError(
                "PAL needs the loss twice: call step(closure), or backward(closure) before step()"
            )
        try:
            with torch.no_grad():
                self._record = (*self._search(self._settle()), self._batch.evaluations)
        finally:
            self._batch.reset()
        loss0 = -self._record[0] if self.param_groups[0]["maximize"] else self._record[0]
        if isinstance(loss0, Tensor):
            return loss0
        return self._loss0 if loss0 == self._loss0.item() else self._loss0.new_tensor(loss0)

    @property
    def line(self) -> LineRecord | None:
        """The record of the last step; None before the first."""
        return (
            None if self._record is None else LineRecord.of(*self._record[:-1], evaluations=self._record[-1])
        )

    @property
    def cases(self) -> dict[Case, int]:
        """How many steps ended in each case. On an accelerator, reading this waits for the device."""
        counts = self.param_groups[0]["cases"]
        return {case: int(counts[case]) for case in Case}

    def _search(self, direction: Direction) -> tuple[Any, ...]:
        group = self.param_groups[0]
        factor = direction.scalar(group["lr"])
        mu, s_max = factor * group["mu"], factor * group["s_max"]
        norm, slope = direction.take(group["beta"])
        try:
            loss0 = direction.loss(self._loss0)
            direction.leave(mu)
            loss_mu = direction.loss(self._batch.again(), mu)
            loss0, loss_mu, slope = self._mean(loss0, loss_mu, slope)
            if not self._trusted and not capturing():
                self._trusted = self._depends_on_weights(direction, loss0, loss_mu, slope, mu)
        finally:
            direction.restore()
        minimum = minimise(loss0, loss_mu, slope, mu, group["alpha"], s_max)
        direction.leave(minimum.step, final=True)
        count(group["cases"], minimum.case)
        return loss0, loss_mu, slope, minimum.curvature, minimum.step, norm, minimum.case, minimum.clipped

    def _settle(self) -> Direction:
        """The direction over the parameters that have a gradient now, made anew only if these changed."""
        groups = self.param_groups
        check_shared(groups)
        present = [param for group in groups for param in group["params"] if param.grad is not None]
        settings = [
            (group["weight_decay"], group["decoupled_weight_decay"], group["beta"] > 0) for group in groups
        ]
        old_settings, old_present = self._layout
        if (
            settings == old_settings
            and len(present) == len(old_present)
            and all(map(is_, present, old_present))
        ):
            return cast(Direction, self._direction)
        self._layout = settings, present
        met = tuple(map(id, present))
        self._batch.watching |= met not in self._met
        self._met.add(met)
        self._direction = Direction(groups)
        self._direction.adopt(self.state)
        cases = groups[0]["cases"]
        if not self._direction.on_host:
            groups[0]["cases"] = torch.as_tensor(cases, device=self._direction.device)
        elif isinstance(cases, Tensor):
            groups[0]["cases"] = [int(number) for number in cases]
        return self._direction

    def _mean(self, *numbers: Scalar) -> Sequence[Scalar]:
        """Means over the processes that share the batch, in one message."""
        processes = self._process_group or self._batch.process_group
        if processes is None or processes.size() == 1:
            return numbers
        on_host = isinstance(numbers[0], float)
        packed = (
            torch.tensor(numbers, dtype=torch.float64)
            if on_host
            else torch.stack(cast(list[Tensor], numbers))
        )
        dist.all_reduce(packed, group=processes)
        packed /= processes.size()
        return [number.item() for number in packed] if on_host else packed.unbind()

    def _depends_on_weights(
        self, direction: Direction, loss0: Scalar, loss_mu: Scalar, slope: Scalar, mu: Scalar
    ) -> bool:
        """Raise RuntimeError if the loss stays the same while the weights move; False if that cannot be told yet."""
        loss0, loss_mu, drop = float(loss0), float(loss_mu), -float(slope) * float(mu)
        if not (1e-5 * abs(loss0) < drop < math.inf and math.isfinite(loss_mu)):
            return False
        if loss_mu == loss0:  # as on any parabola with its minimum half way: ask elsewhere
            direction.restore()
            direction.leave(0.6 * mu)
            (between,) = self._mean(direction.loss(self._batch.again(), 0.6 * mu))
            if float(between) == loss0:
                raise RuntimeError(
                    "the loss does not depend on the weights that PAL moves: the closure must compute it anew at "
                    "every call, from the parameters given to PAL"
                )
        return True


def count(cases: list[int] | Tensor, case: int | Tensor) -> None:
    """Add one to the count of a case."""
    if isinstance(cases, Tensor):
        cases += torch.arange(len(cases), device=cases.device) == case
    else:
        cases[int(case)] += 1
