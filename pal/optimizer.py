"""PAL: a direction, a line and a parabola."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter, is_
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from pal import kernels
from pal.check import ATTEMPTS, can_tell, fits
from pal.closure import Backward, BatchLoss, Closure, plain_backward
from pal.direction import Direction
from pal.line import LineRecord
from pal.parabola import Case, Minimum, Scalar, minimise
from pal.randomness import Twins, capturing
from pal.settings import check_group, check_shared
from pal.sharding import batches, local
from pal.state import Kept, Processes, as_tensor, fingerprint, growth, undone

kind_of = attrgetter("dtype", "device", "grad.layout")


class PAL(torch.optim.Optimizer):
    r"""Parabolic approximation line search: a step to the minimum of a parabola through three numbers.

    With the gradient g of the batch loss, m <- beta m + g, d = -m and l(s) = loss(theta + s d/||d||),

    * measure l(0), b = l'(0) = g.d/||d|| and l(mu): one forward and backward pass, one more forward pass;
    * a = (l(mu) - l(0) - b mu) / mu²;
    * s = min(-alpha b / (2a), s_max); s = min(mu, s_max) if a <= 0; s = 0 if b >= 0;
    * theta <- theta + s d/||d||.

    All parameters of all groups move on this one line. The second forward pass sees the same function as the first, by
    the rule in `pal.closure`: the same random numbers, buffers and modes; the batch counts once. If a loss,
    the slope or the curvature is NaN or infinite, the weights stay, bit by bit. Nothing is read from an accelerator
    during a step, but for the first steps, which look whether the closure is what it must be.

    Args:
        params: parameters or parameter groups; groups may differ in weight decay.
        mu: measuring step, distance in weight space, > 0.
        alpha: update step adaptation, > 0.
        beta: direction adaptation, >= 0 and < 1; the paper uses 0 and 0.4.
        s_max: maximum step, distance in weight space, > 0, may be infinite.
        lr: factor on mu and s_max, there for torch's learning-rate schedulers; a tensor stays adjustable in a captured
            CUDA graph.
        weight_decay: factor of the weight decay, >= 0: weight_decay/2 ||theta||² is part of the loss, as in the paper.
        decoupled_weight_decay: instead, theta <- (1 - min(weight_decay s, 1)) theta with each step of length s:
            decoupled from the loss, its line and the size of its gradient.
        maximize: go up instead of down; the record then describes the line of minus the loss.
        foreach: whether one kernel serves many parameters; slower without. Default: yes.
        modules: modules that belong to the closure. Needed only for what it reaches through other objects' depths.
        check: whether the first steps evaluate the loss twice more, to warn if the closure is not one function of the
            weights, or the gradient not its gradient.
        process_group: whose processes share the batch. Default: that of the DistributedDataParallel module seen in the
            closure; needed only where gradients are averaged in another way.

    Raises:
        ValueError: if an argument is out of range, or groups disagree on a setting of the line.

    Source: Mutschler and Zell, NeurIPS 2020, arXiv:1903.11991, algorithm 2. Decoupled weight decay, and what
    happens to NaN, are ours.

    >>> weights = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = PAL([weights], mu=0.1)
    >>> optimizer.step(lambda: weights.square().sum())
    tensor(5.)
    >>> Case(int(optimizer.line.case)).name, round(float(optimizer.line.step), 3)
    ('PARABOLA', 2.236)
    """

    _step_supports_amp_scaling = True  # GradScaler.step hands over its scale and leaves overflows to the step

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
        self._keep(Kept(Processes(process_group), named, check))
        super().__init__(params, defaults)

    def _keep(self, kept: Kept) -> None:
        self._kept = kept
        kept.batch = self._batch_loss(kept.modules)

    def _batch_loss(self, modules: list[nn.Module]) -> BatchLoss:
        return BatchLoss(self._params, modules, self._kept.check)

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along."""
        kept = self._kept
        mine = {
            "processes": kept.processes,
            "modules": kept.modules,
            "check": kept.check,
            "cases": kept.counts(),
        }
        return {**super().__getstate__(), "_kept": mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state, of a checkpoint or a pickle; what was worked out from the old one is worked out anew."""
        state = dict(state)
        if "_kept" in state:
            self._keep(Kept(**state.pop("_kept")))
        super().__setstate__(state)
        for group in self.param_groups:
            if "cases" in group:
                self._kept.cases = [int(count) for count in group.pop("cases")]
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._kept.forget()

    def state_dict(self) -> dict[str, Any]:
        """The state of a checkpoint, as of any optimizer of torch; the counts of cases are in the first group."""
        state = super().state_dict()
        state["param_groups"][0]["cases"] = self._kept.counts()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint; settings that it lacks, being older, get their defaults.

        Raises:
            ValueError: if it is not PAL's.
        """
        for group in state_dict["param_groups"]:
            if "mu" not in group:
                raise ValueError(
                    f"the checkpoint is not one of PAL: its parameter groups have no mu, only {sorted(group)}"
                )
            check_group(group)
        super().load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the line; only their weight decay may differ. What is listed twice counts once."""
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
        """Clear the gradients, and forget what `backward` began; inside of a closure, clear those of its own batch."""
        batch = self._kept.batch
        batch.cleared = True
        if batch.busy and len(batch):
            return  # they are of micro-batches before, or put aside
        if not batch.busy:
            batch.reset()
        super().zero_grad(set_to_none)

    def backward(self, closure: Closure, call: Backward = plain_backward) -> Tensor:
        """Evaluate the loss of a batch and its gradient, for a `step` without closure to come.

        For loops that do something between the backward pass and the step. Calls before one step add up: gradient
        accumulation, each micro-batch with its share of the loss.

        Args:
            closure: runs the forward pass and returns the loss; called again by `step`, at the probe.
            call: how to call backward on the loss, such as `accelerator.backward`. If that scales the loss,
                so does PAL.

        Returns:
            The loss of the closure, detached.
        """
        kept = self._kept
        loss = kept.batch.measure(closure, call)
        kept.fingerprint = fingerprint(self._params()) if kept.batch.scaled else None
        return loss

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> Twins:
        """Prepare the capture of a step in a CUDA graph whose closure draws random numbers, as dropout does.

        Call it after warming up and before the capture. Captured draws come from generators of their own.

        Returns:
            Those generators. Their `replay` replays the graph with the draws that an eager step would see, and leaves
            torch's generators where it would.
        """
        return self._kept.batch.register_graph(graph)

    def step(self, closure: Closure | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move the weights to the minimum of the line's parabola.

        An error or an interrupt leaves weights, m, buffers and random generators as they were before the batch.

        Args:
            closure: runs the forward pass and returns the loss, a tensor with one element. It is called twice, at the
                weights and at the probe. It may clear gradients and call backward by itself, as closures for
                torch.optim do; at the probe that is for nothing. None if `backward` was called for the batch.

        Returns:
            l(0), detached, weight decay in the loss included.

        Raises:
            RuntimeError: if there is no closure or no gradient, or the call comes from inside of a closure.
            TypeError: if the closure does not return one number.
        """
        return (
            untraced(self._whole_step, closure)
            if torch.compiler.is_compiling()
            else self._whole_step(closure)
        )

    @torch.no_grad()
    def _whole_step(self, closure: Closure | None) -> Tensor:
        """One step, or none."""
        self._kept.batch.refuse_inside()
        try:
            return self._step(closure)
        except BaseException:
            self._roll_back()
            raise

    @property
    def line(self) -> LineRecord | None:
        """The record of the last step; None before the first."""
        record = self._kept.record
        return None if record is None else LineRecord.of(*record[:-1], evaluations=record[-1])

    @property
    def cases(self) -> dict[Case, int]:
        """How many steps ended in each case. On an accelerator, reading this waits for the device."""
        return dict(zip(Case, self._kept.counts(), strict=True))

    def _step(self, closure: Closure | None) -> Tensor:
        kept = self._kept
        if closure is not None:
            kept.batch.measure(closure)
        elif not len(kept.batch):
            return self._step_of_length_zero()
        self._take_scale()
        direction = self._settle()
        self._average_gradients()
        return self._search(direction)

    def _search(self, direction: Direction) -> Tensor:
        kept, group = self._kept, self.param_groups[0]
        factor = direction.scalar(group["lr"])
        mu, s_max = factor * group["mu"], factor * group["s_max"]
        norm, own_slope = direction.take(group["beta"], group["maximize"])
        loss = kept.batch.loss()
        own_loss0 = direction.loss(loss)
        own_loss_mu = self._loss_at(direction, mu)
        looks = kept.looks < ATTEMPTS and not capturing()
        numbers = own_loss0, own_loss_mu, own_slope, *([own_slope * own_slope] if looks else [])
        loss0, loss_mu, slope, *square = self._mean(*numbers)
        if looks:
            refuse_other_lines(float(slope), float(square[0]))
            self._look(direction, *map(float, (loss0, loss_mu, slope, mu)))
        minimum = self._minimum(direction, loss0, loss_mu, slope, mu, s_max)
        record = loss0, loss_mu, slope, minimum.curvature, minimum.step, norm, minimum.case, minimum.clipped
        commit = [
            *direction.finishing(minimum.step),
            kept.counting(minimum.case),
            partial(setattr, kept, "record", (*record, kept.batch.evaluations)),
            kept.batch.resetting(),
        ]
        return kernels.run(commit, as_tensor(-loss0 if group["maximize"] else loss0, loss))

    def _minimum(
        self,
        direction: Direction,  # noqa: ARG002 - for variants that measure more of the line
        loss0: Scalar,
        loss_mu: Scalar,
        slope: Scalar,
        mu: Scalar,
        s_max: Scalar,
    ) -> Minimum:
        """Where to go: the rule that variants of PAL replace."""
        return minimise(loss0, loss_mu, slope, mu, self.param_groups[0]["alpha"], s_max)

    def _loss_at(self, direction: Direction, distance: Scalar) -> Scalar:
        """The loss of this process at a point of the line; the weights stay there."""
        direction.move(distance)
        return direction.loss(self._kept.batch.again(), distance)

    def _roll_back(self) -> None:
        kept = self._kept
        if kept.direction is not None:
            kept.direction.restore()
        kept.batch.roll_back()

    def _step_of_length_zero(self) -> Tensor:
        """A step without a batch, which lr = 0 allows: so torch.distributed.checkpoint has states made."""
        if float(self.param_groups[0]["lr"]) != 0:
            raise RuntimeError(
                "PAL needs the loss twice: call step(closure), or backward(closure) before step()"
            )
        self._settle()
        return torch.zeros(())

    def _settle(self) -> Direction:
        """The direction over the parameters that have a gradient now, made anew only if these changed."""
        kept, groups = self._kept, self.param_groups
        check_shared(groups)
        present = [param for param in self._params() if param.grad is not None]
        if not present:
            raise RuntimeError(
                "no parameter given to PAL has a gradient: the loss does not depend on any of them"
            )
        layout: list[Any] = [
            (group["weight_decay"], group["decoupled_weight_decay"], group["beta"] > 0) for group in groups
        ]
        layout += map(kind_of, present)
        layout += map(Tensor.stride, present)
        same = len(present) == len(kept.present) and all(map(is_, present, kept.present))
        if kept.direction is None or not same or layout != kept.layout:
            kept.direction = None
            if any(layout is not torch.strided for _, _, layout in map(kind_of, present)):
                raise RuntimeError(
                    "PAL does not support sparse gradients: build embeddings with sparse=False"
                )
            direction = Direction(groups)
            direction.adopt(self.state)
            kept.direction = direction
            kept.present, kept.layout = present, layout
            kept.meet(present)
        return kept.direction

    def _take_scale(self) -> None:
        """Bring loss and gradient to one scale, where the gradient was scaled.

        A GradScaler has divided it by its scale (`unscale_`), or hands the scale over (`_step_supports_amp_scaling`).
        """
        kept, scale = self._kept, getattr(self, "grad_scale", None)
        if scale is not None:
            for param in self._params():
                if param.grad is not None:
                    local(param.grad).div_(scale.to(param.grad.device))
        if kept.fingerprint is not None:
            grown = growth(kept.fingerprint, fingerprint(self._params()))
            kept.batch.rescale(undone(grown, kept.batch.factor))
            kept.fingerprint = None

    def _average_gradients(self) -> None:
        """Average the gradients over the processes where DistributedDataParallel was told not to.

        Lightning's manual optimization tells it so. Its manual_backward averages all the same, and then this changes
        nothing.
        """
        batch = self._kept.batch
        if batch.process_group is None or not batch.unsynchronised:
            return
        for param in self._kept.present:
            if param.grad is not None:
                dist.all_reduce(param.grad, group=batch.process_group)
                param.grad.div_(batch.process_group.size())

    def _mean(self, *numbers: Scalar) -> Sequence[Scalar]:
        """Means over the processes that share the batch, in one message."""
        named = self._kept.processes.group or self._kept.batch.process_group
        groups = batches(self._kept.present[0]) if named is None else [named]
        groups = [group for group in groups if group.size() > 1]
        if not groups:
            return numbers
        on_host = isinstance(numbers[0], float)
        packed = (
            torch.tensor(numbers, dtype=torch.float64)
            if on_host
            else torch.stack(cast(list[Tensor], numbers))
        )
        for group in groups:
            dist.all_reduce(packed, group=group)
            packed /= group.size()
        return [number.item() for number in packed] if on_host else packed.unbind()

    def _look(self, direction: Direction, loss0: float, loss_mu: float, slope: float, mu: float) -> None:
        """See whether the closure is what it must be."""
        kept, evaluations = self._kept, self._kept.batch.evaluations

        def loss_at(distance: float) -> float:
            return float(self._mean(self._loss_at(direction, distance))[0])

        if not kept.check or kept.batch.doubted:
            kept.looks = ATTEMPTS
        elif not kept.looks and fits(loss0, loss_mu, slope, mu):
            kept.looks = 1  # nothing suspicious, but a line that bends may hide much: look closely next time
        else:
            precision = max(torch.finfo(param.dtype).eps for param in kept.present)
            kept.looks = ATTEMPTS if can_tell(loss_at, loss0, slope, mu, precision) else kept.looks + 1
            kept.batch.evaluations = evaluations


@torch._disable_dynamo
def untraced(step: Callable[..., Tensor], closure: Closure | None) -> Tensor:
    """A step that torch.compile is in the middle of: it runs as it is."""
    return step(closure)


def refuse_other_lines(slope: float, square: float) -> None:
    """Raise RuntimeError if the slopes of processes that share a batch, with this mean and mean square, differ."""
    if abs(square - slope * slope) > 1e-4 * square:
        raise RuntimeError(
            "PAL's processes have different gradients: average them (DistributedDataParallel, or your own "
            "all_reduce), and "
            "give each process all weights (ZeroRedundancyOptimizer and others that deal out the weights do not)"
        )
