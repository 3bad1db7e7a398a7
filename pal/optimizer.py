"""The optimizer PAL: a direction, a line along it, and a parabola on the line."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter, is_
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT, _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from pal import kernels
from pal.check import ATTEMPTS, check_closure, matches_slope
from pal.closure import Backward, BatchLoss, Closure, plain_backward
from pal.direction import Direction, Slope
from pal.line import LineRecord
from pal.parabola import Case, Minimum, Scalar, minimise
from pal.randomness import PairedGenerators, capturing
from pal.settings import check_group, check_shared
from pal.sharding import all_reduce, batch_groups, local
from pal.state import (
    ProcessGroupHandle,
    RuntimeState,
    as_tensor,
    gradient_fingerprint,
    gradient_rescaling,
    loss_rescaling,
)

gradient_layout = attrgetter("grad.layout")
weight_layout = attrgetter("dtype", "device", "shape")


class PAL(torch.optim.Optimizer):
    r"""Parabolic approximation line search: step to the minimum of a parabola fitted to three numbers.

    With the gradient g of the batch loss, m <- beta m + g, d = -m and l(s) = loss(theta + s d/||d||):

    * measure l(0), b = l'(0) = g.d/||d|| and l(mu), with one forward and backward pass and one more forward pass;
    * a = (l(mu) - l(0) - b mu) / mu²;
    * s = min(-alpha b / (2a), s_max); s = min(mu, s_max) if a <= 0; s = 0 if b >= 0;
    * theta <- theta + s d/||d||.

    The parameters of all groups move along one line. Both forward passes evaluate the same function, with the same
    random numbers, buffers and modes, and the batch counts once; `pal.closure` states the rule. If a loss, the slope or
    the curvature is NaN or infinite, the weights stay bitwise unchanged. A step never waits for an accelerator, except
    for the first few, which check the closure.

    Args:
        params: parameters or parameter groups; groups may differ in weight decay only.
        mu: measuring step size, distance in weight space, > 0.
        alpha: update step adaptation, > 0, dimensionless.
        beta: direction adaptation, in [0, 1); the paper uses 0 and 0.4.
        s_max: maximum step size, distance in weight space, > 0; may be infinite.
        lr: factor of mu and s_max, >= 0, for the learning-rate schedulers of torch. In a captured CUDA graph, a tensor
            can be changed between replays.
        weight_decay: L2 regularization, >= 0: weight_decay/2 ||theta||² is part of the loss, as in the paper.
        decoupled_weight_decay: whether to decouple the decay from the loss, and so from the line and the size of the
            gradient: each step of length s starts with theta <- (1 - min(weight_decay s, 1)) theta.
        maximize: whether to maximize the loss; the record then describes the line of its negative.
        foreach: whether to use multi-tensor kernels, which are faster. Default: yes.
        modules: modules that belong to the closure, needed only for those that PAL cannot find: too deep inside other
            objects, and not run in the first step.
        check: whether to evaluate the loss about twice more in the first steps, and warn if the closure is not one
            function of the weights or the gradient is not that of its loss.
        process_group: the processes that share the batch. Default: those of the DistributedDataParallel module in the
            closure, or of FSDP2; needed only if gradients are averaged in another way.

    Raises:
        ValueError: if an argument is out of range, or groups disagree on a hyper-parameter of the line.

    Source: Mutschler and Zell, NeurIPS 2020, arXiv:1903.11991, algorithm 2. Decoupled weight decay and the treatment of
    NaN are ours.

    >>> weights = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = PAL([weights], mu=0.1)
    >>> optimizer.step(lambda: weights.square().sum())
    tensor(5.)
    >>> Case(int(optimizer.line.case)).name, round(float(optimizer.line.step), 3)
    ('PARABOLA', 2.236)
    """

    _step_supports_amp_scaling = True  # GradScaler passes its scale, and leaves overflows to PAL

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
        modules: nn.Module | Iterable[nn.Module] = (),
        check: bool = True,
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
        check_group(defaults)
        named = [modules] if isinstance(modules, nn.Module) else list(modules)
        self._set_runtime(RuntimeState(ProcessGroupHandle(process_group), named, check))
        super().__init__(params, defaults)

    def _set_runtime(self, runtime: RuntimeState) -> None:
        self._runtime = runtime
        runtime.batch = self._batch_loss(runtime.modules)

    def _batch_loss(self, modules: list[nn.Module]) -> BatchLoss:
        return BatchLoss(partial(params_of, weakref.ref(self)), modules, self._runtime.check)

    def _params(self) -> list[Tensor]:
        """All parameters; callers do not modify the list."""
        groups = self.param_groups
        return (
            groups[0]["params"]
            if len(groups) == 1
            else [each for group in groups for each in group["params"]]
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy or a pickle, without what can be derived from it."""
        runtime = self._runtime
        arguments = {name: getattr(runtime, name) for name in ("process_group", "modules", "check")}
        return {**super().__getstate__(), "_runtime": {**arguments, "cases": runtime.counts()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the state of a checkpoint or a pickle, and discard what was derived from the old one."""
        state = dict(state)
        if "_runtime" in state:
            self._set_runtime(RuntimeState(**state.pop("_runtime")))
        super().__setstate__(state)
        for group in self.param_groups:
            if "cases" in group:
                self._runtime.cases = [int(count) for count in group.pop("cases")]
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._runtime.invalidate()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, as for any optimizer; the first group also holds the counts of the cases."""
        state = super().state_dict()
        state["param_groups"][0]["cases"] = self._runtime.counts()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a checkpoint; hyper-parameters that an older one lacks get their defaults.

        Raises:
            ValueError: if it is not a checkpoint of PAL, or a hyper-parameter is out of range.
        """
        for group in state_dict["param_groups"]:
            if "mu" not in group:
                raise ValueError(
                    f"the checkpoint is not one of PAL: its parameter groups have no mu, only {sorted(group)}"
                )
            check_group(group)
        super().load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the line. Only their weight decay may differ from that of other groups.

        Parameters that are listed twice count once.

        Raises:
            ValueError: if a hyper-parameter is out of range, or differs from that of other groups.
        """
        params = param_group["params"]
        if isinstance(params, Iterable) and not isinstance(params, Tensor):
            listed = list(cast(Iterable[Any], params))
            named = any(isinstance(each, tuple) for each in listed)
            param_group["params"] = listed if named else list(dict.fromkeys(listed))
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
            check_shared(self.param_groups)
        except ValueError:
            self.param_groups.pop()
            raise

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients and discard unused micro-batches; inside a closure, clear only its own gradients."""
        batch = self._runtime.batch
        if batch.evaluating and len(batch):
            return  # they belong to earlier micro-batches, or are put aside
        if not batch.evaluating:
            batch.reset()
        super().zero_grad(set_to_none)

    def backward(self, closure: Closure, call: Backward = plain_backward) -> Tensor:
        """Evaluate the loss of a batch and its gradient; afterwards, call `step` without a closure.

        This is for loops that do something between the backward pass and the step, and for gradient accumulation: the
        losses and gradients of several calls before one step add up.

        Args:
            closure: runs the forward pass and returns the loss, of a micro-batch times its share of the batch. `step`
                calls it again, at the probe.
            call: calls backward on the loss, such as `accelerator.backward`. If it scales the loss, PAL scales the loss
                of the step by the same factor.

        Returns:
            The loss of the closure, detached.

        Raises:
            RuntimeError: if the loss has no gradient, or this is called from inside a closure.
            TypeError: if the closure does not return one number.
        """
        runtime = self._runtime
        loss = runtime.batch.measure(closure, call)
        runtime.fingerprint = gradient_fingerprint(self._params()) if runtime.batch.scaled else None
        return loss.clone()  # the caller may add to it in place

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> PairedGenerators:
        """Prepare the capture of a step in a CUDA graph if its closure draws random numbers, as dropout does.

        Call this after the warm-up and before the capture. Captured steps draw from generators of their own.

        Args:
            graph: the graph that is to capture the step.

        Returns:
            The generators. Their method `replay` replays the graph with the random numbers of an eager step, and
            advances torch's generators as that would.
        """
        return self._runtime.batch.register_graph(graph)

    def step(self, closure: Closure | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move the weights to the minimum of the parabola on the line.

        After an error or an interrupt, the weights, m, buffers and random generators are as they were before the batch.

        Args:
            closure: runs the forward pass and returns the loss, a tensor with one element. It is called at the weights
                and at the probe. Like closures for torch.optim, it may clear gradients and call backward itself, which
                is wasted at the probe. None if `backward` was called for the batch.

        Returns:
            l(0), detached, including the L2 term.

        Raises:
            RuntimeError: if there is no closure or no gradient, or this is called from inside a closure.
            TypeError: if the closure does not return one number.
        """
        if torch.compiler.is_compiling():  # older compilers cannot even ask for observers
            return without_compiling(self.step, closure)
        return self._observed_step(closure) if is_observed(self) else self._guarded_step(closure)

    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess] - or torch would wrap every step for observers

    @torch.optim.Optimizer.profile_hook_step
    def _observed_step(self, closure: Closure | None) -> Tensor:
        return self._guarded_step(closure)

    def _guarded_step(self, closure: Closure | None) -> Tensor:
        """Take one step, or after an error none at all."""
        self._runtime.batch.refuse_reentry()
        mode = torch.is_grad_enabled()
        try:  # without torch.no_grad, which costs a small step a percent
            torch._C._set_grad_enabled(False)
            loss = self._step(closure)
            torch._C._set_grad_enabled(mode)
            return loss
        except BaseException:
            torch._C._set_grad_enabled(False)
            try:
                self._roll_back()
            finally:
                torch._C._set_grad_enabled(mode)
            raise

    @property
    def line(self) -> LineRecord | None:
        """The record of the last step; None before the first."""
        record = self._runtime.record
        return None if record is None else LineRecord.of(*record[:-1], evaluations=record[-1])

    @property
    def cases(self) -> dict[Case, int]:
        """How many steps ended in each case. On an accelerator, reading this waits for the device."""
        return dict(zip(Case, self._runtime.counts(), strict=True))

    def _step(self, closure: Closure | None) -> Tensor:
        batch = self._runtime.batch
        if closure is not None:
            loss = batch.measure(closure)
            if not len(batch):
                return loss  # the closure skips this batch
        elif not len(batch):
            return self._step_without_batch()
        batch.own_gradients()
        self._undo_rescaling()
        direction = self._current_direction()
        self._average_gradients()
        return self._search(direction)

    def _search(self, direction: Direction) -> Tensor:
        runtime, group = self._runtime, self.param_groups[0]
        factor = direction.scalar(group["lr"])
        mu, s_max = factor * group["mu"], factor * group["s_max"]
        norm, own_slope = self._start(direction)
        loss = runtime.batch.loss()
        own_loss0 = direction.loss(loss)
        own_loss_mu = self._loss_at(direction, mu)
        checks = runtime.attempts < ATTEMPTS and not capturing()
        numbers = own_loss0, own_loss_mu, own_slope, *([own_slope * own_slope] if checks else [])
        loss0, loss_mu, slope, *square = self._mean(*numbers)
        if checks:
            require_equal_slopes(float(slope), float(square[0]))
            self._check(direction, *map(float, (loss0, loss_mu, slope, mu)))
        minimum = self._minimum(direction, loss0, loss_mu, slope, mu, s_max)
        record = loss0, loss_mu, slope, minimum.curvature, minimum.step, norm, minimum.case, minimum.clipped
        commit = [
            *direction.prepare_step(minimum.step),
            runtime.prepare_count(minimum.case),
            partial(setattr, runtime, "record", (*record, runtime.batch.evaluations)),
            runtime.batch.prepare_reset(),
        ]
        return kernels.run(commit, as_tensor(-loss0 if group["maximize"] else loss0, loss))

    def _start(self, direction: Direction) -> Slope:
        """Start the line at the current weights; subclasses may choose its direction."""
        group = self.param_groups[0]
        return direction.start(group["beta"], group["maximize"])

    def _minimum(
        self,
        direction: Direction,  # noqa: ARG002 - for subclasses that measure more of the line
        loss0: Scalar,
        loss_mu: Scalar,
        slope: Scalar,
        mu: Scalar,
        s_max: Scalar,
    ) -> Minimum:
        """The update rule, which subclasses may replace."""
        return minimise(loss0, loss_mu, slope, mu, self.param_groups[0]["alpha"], s_max)

    def _loss_at(self, direction: Direction, distance: Scalar) -> Scalar:
        """Move the weights along the line, and evaluate the loss of this process there."""
        direction.move(distance)
        return direction.loss(self._runtime.batch.reevaluate(), distance)

    def _roll_back(self) -> None:
        runtime = self._runtime
        if runtime.direction is not None:
            runtime.direction.restore()
        runtime.batch.roll_back()

    def _step_without_batch(self) -> Tensor:
        """Create the state for a checkpoint to load: torch.distributed.checkpoint calls `step()` with lr = 0."""
        if float(self.param_groups[0]["lr"]) != 0:
            raise RuntimeError(
                "PAL needs the loss twice: call step(closure), or backward(closure) before step()"
            )
        self._current_direction()
        return torch.zeros(())

    def _current_direction(self) -> Direction:
        """The direction over the parameters that have a gradient now; created again only if these have changed."""
        runtime, groups = self._runtime, self.param_groups
        check_shared(groups)
        active = [param for param in self._params() if param.grad is not None]
        if not active:
            raise RuntimeError(
                "no parameter given to PAL has a gradient: the loss does not depend on any of them"
            )
        layout: list[Any] = [
            (group["weight_decay"], group["decoupled_weight_decay"], group["beta"] > 0) for group in groups
        ]
        layout += map(weight_layout, active)
        layout += map(gradient_layout, active)
        layout += map(Tensor.stride, active)
        same = len(active) == len(runtime.active) and all(map(is_, active, runtime.active))
        if (
            runtime.direction is None
            or not same
            or layout != runtime.layout
            or not runtime.direction.is_kept_in(self.state)
        ):
            runtime.direction = None
            if any(layout is not torch.strided for layout in map(gradient_layout, active)):
                raise RuntimeError(
                    "PAL does not support sparse gradients: build embeddings with sparse=False"
                )
            direction = Direction(groups)
            direction.load(self.state)
            runtime.direction = direction
            runtime.active, runtime.layout = active, layout
            runtime.mark_seen(active)
        return runtime.direction

    def _undo_rescaling(self) -> None:
        """Make the loss and the gradient match again if the gradient was rescaled.

        A GradScaler either has unscaled the gradient (`unscale_`), or passes its scale to the optimizer
        (`_step_supports_amp_scaling`).
        """
        runtime, scale = self._runtime, getattr(self, "grad_scale", None)
        if scale is not None:
            for param in self._params():
                if param.grad is not None:
                    local(param.grad).div_(scale.to(param.grad.device))
        if runtime.fingerprint is not None:
            factor = gradient_rescaling(runtime.fingerprint, gradient_fingerprint(self._params()))
            runtime.batch.rescale(loss_rescaling(factor, runtime.batch.factor))
            runtime.fingerprint = None

    def _average_gradients(self) -> None:
        """Average the gradients over the processes if DistributedDataParallel was told not to.

        Lightning's manual optimization does so. If its `manual_backward` has averaged them already, nothing changes.
        """
        batch = self._runtime.batch
        if batch.process_group is None or not batch.unsynchronised:
            return
        for param in self._runtime.active:
            if param.grad is not None:
                dist.all_reduce(param.grad, group=batch.process_group)
                param.grad.div_(batch.process_group.size())

    def _mean(self, *numbers: Scalar) -> Sequence[Scalar]:
        """Means over the processes that share the batch, in one message per process group."""
        named = self._runtime.process_group.group or self._runtime.batch.process_group
        groups = batch_groups(self._runtime.active[0]) if named is None else [named]
        return all_reduce(numbers, groups, average=True) if groups else numbers

    def _check(self, direction: Direction, loss0: float, loss_mu: float, slope: float, mu: float) -> None:
        """Check the closure, unless that is turned off or not yet worthwhile."""
        runtime, evaluations = self._runtime, self._runtime.batch.evaluations

        def loss_at(distance: float) -> float:
            return float(self._mean(self._loss_at(direction, distance))[0])

        if not runtime.check or runtime.batch.warned:
            runtime.attempts = ATTEMPTS
        elif not runtime.attempts and matches_slope(loss0, loss_mu, slope, mu):
            runtime.attempts = 1  # nothing suspicious, but curvature may hide much: look closely next time
        else:
            precision = max(torch.finfo(param.dtype).eps for param in runtime.active)
            conclusive = check_closure(loss_at, loss0, slope, mu, precision)
            runtime.attempts = ATTEMPTS if conclusive else runtime.attempts + 1
            runtime.batch.evaluations = evaluations


def params_of(reference: weakref.ref[PAL]) -> list[Tensor]:
    """The parameters of an optimizer, which is not kept alive."""
    optimizer = reference()
    return [] if optimizer is None else optimizer._params()


def is_observed(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks or a profiler observe the steps; the wrapper for these costs a small step several percent."""
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
    )
    return any(hooks) or torch.autograd._profiler_enabled()


@torch._disable_dynamo
def without_compiling(step: Callable[..., Tensor], closure: Closure | None) -> Tensor:
    """Take a step eagerly where torch.compile compiles the caller."""
    return step(closure)


def require_equal_slopes(slope: float, square: float) -> None:
    """Raise RuntimeError if the slopes of the processes, with this mean and mean square, differ."""
    if abs(square - slope * slope) > 1e-4 * square:
        raise RuntimeError(
            "PAL needs the same gradients in all processes: average them (DistributedDataParallel, or your own "
            "all_reduce), and give each process all weights (ZeroRedundancyOptimizer gives each only a part)"
        )
