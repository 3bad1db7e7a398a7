"""The loss of one step as a function of the weights: one batch, one function, whatever the closure does.

A line search evaluates a closure several times, and all values must belong to one function. The rule, in the order in
which `BatchLoss` applies it:

1. Before the first evaluation, what the closure can reach is found (`pal.reach`) and its state is noted: buffers and
   frozen weights by value, attributes and train or eval modes of modules, the places of all random generators.
2. The first evaluation gives the loss and its gradient; what it changes, the batch has changed.
3. Each further evaluation starts from the state of before the first, with the same random draws, under the same
   autocast, with gradients enabled as in the first. Only the weights differ.
4. After it, everything is as the first evaluation left it: the batch counts once. Gradients that the closure itself
   computed or cleared meanwhile are put back, too.
5. An error or an interrupt anywhere brings back the state of before the first evaluation.

A module that writes its own trained weights in the first evaluation (initialisation from data) keeps the
state that goes with them. What is in none of these places (files, foreign generators, a batch fetched inside
of the closure) cannot be brought back; `pal.check` notices.
"""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from pal import kernels
from pal.check import ClosureWarning, warn_if_begun_outside, warn_of_foreign_gradients
from pal.line import on_host
from pal.randomness import Randomness, Twins, accelerator, capturing
from pal.reach import Reached, reach, walk
from pal.snapshot import Snapshot, is_plain

Closure = Callable[[], Any]
Backward = Callable[[Tensor], Any]

version_of, gradient_of = attrgetter("_version"), attrgetter("grad")

BUDGET = 2**26
"""Bytes of other tensors than buffers that are kept by value; frozen weights up to the size of the others."""


def nothing() -> None:
    """No gradient."""


def plain_backward(loss: Tensor) -> None:
    """Add the gradient of the loss to the gradients."""
    loss.backward()


class Autocast(NamedTuple):
    """The autocast of a kind of device, around an evaluation."""

    kind: str
    enabled: bool
    dtype: torch.dtype
    cached: bool


def autocasts() -> tuple[Autocast, ...]:
    """The autocasts here, of the CPU and of the accelerator; nothing where neither is on."""
    if not torch._C._is_any_autocast_enabled():
        return ()
    device = accelerator()
    cached = torch.is_autocast_cache_enabled()
    return tuple(
        Autocast(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind), cached)
        for kind in ("cpu", device)
        if kind is not None
    )


def around(inside: tuple[Autocast, ...], here: tuple[Autocast, ...]) -> list[torch.autocast]:
    """What to enter so that the autocasts are those of `inside` instead of those here."""
    off = inside or [each._replace(enabled=False) for each in here]
    return [torch.autocast(each.kind, each.dtype, each.enabled, each.cached) for each in off]


class Term(NamedTuple):
    """One measured closure: how to evaluate it again, and the factor between its loss and the loss of the step."""

    closure: Closure
    start: Randomness
    autocast: tuple[Autocast, ...]
    loss: Tensor
    factor: float | Tensor

    def of_step(self, loss: Tensor) -> Tensor:
        """The share of a loss of this closure in the loss of the step."""
        return loss if is_one(self.factor) else loss * self.factor


@dataclass
class Batch:
    """What is known of the batch of one step.

    Attributes:
        terms: the closures measured, whose losses add up.
        starts: the places of the random generators before the first evaluations.
        before: states of before the first evaluations.
        late: states, noted during a further evaluation, of modules that nobody knew.
        reached: what the closures reach.
        kept: tensors to keep by value, besides buffers.
        shy: those of them that are written to only if they have changed.
        trusted: tensors not kept, with the versions they had.
        stashed: gradients that are put aside during a further evaluation.
    """

    terms: list[Term] = field(default_factory=list)
    starts: list[Randomness] = field(default_factory=list)
    before: list[Snapshot] = field(default_factory=list)
    late: list[Snapshot] = field(default_factory=list)
    reached: Reached = field(default_factory=Reached)
    kept: list[Tensor] = field(default_factory=list)
    shy: list[Tensor] = field(default_factory=list)
    trusted: list[tuple[Tensor, int]] = field(default_factory=list)
    stashed: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)


class BatchLoss:
    """The loss of one step as a function of the weights; the rule is at the top of this module.

    Args:
        params: gives the weights that move. A closure that has filled their gradients has called backward by itself.
        modules: modules that belong to every closure, besides those that are found.
        check: whether to warn of closures that look wrong.

    Attributes:
        evaluations: forward passes of this step so far.
        watching: whether the next evaluations look out for modules that run but were not found in the closure; they do
            without torch.compile. Set it when new ones may have come.
        busy: whether a closure is being evaluated.
        doubted: whether a closure was said to be wrong.
        cleared: whether the closure has cleared the optimizer's gradients.
        process_group: that of the DistributedDataParallel module among the modules, if any.
        unsynchronised: whether that module left the gradients of the last closure to each process.

    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> batch_loss = BatchLoss(lambda: [weight])
    >>> batch_loss.measure(lambda: nn.functional.dropout(weight).square().sum() * 0 + weight.square().sum())
    tensor(9.)
    >>> weight.grad
    tensor([6.])
    >>> with torch.no_grad():
    ...     _ = weight.zero_()
    >>> batch_loss.again()
    tensor(0.)
    """

    def __init__(
        self,
        params: Callable[[], Sequence[Tensor]] = tuple,
        modules: Iterable[nn.Module] = (),
        check: bool = True,
    ) -> None:
        self.evaluations = 0
        self.watching = True
        self.busy = False
        self.process_group: ProcessGroup | None = None
        self.unsynchronised = False
        self._params = params
        self._named = list(modules)
        self._check = check
        self._seen: list[weakref.ref[nn.Module]] = []
        self._open: list[Batch] = []  # one or none: clearing a list is what an interrupt cannot come into
        self._contexts = ExitStack()
        self._prepared = False  # whether anything was entered there
        self.doubted = False
        self.cleared = False
        self._left: tuple[Callable[[], Tensor | None], int] = nothing, 0  # the gradient of the last step
        self._writes = False  # whether a closure was seen to write to tensors that it holds
        self._calls_backward = False  # whether a closure was seen to call backward by itself
        self._draws = False  # whether one was seen to draw on an accelerator
        self._twins: Twins | None = None

    def __len__(self) -> int:
        """Number of terms measured since `reset`."""
        return len(self._open[0].terms) if self._open else 0

    def reset(self) -> None:
        """Forget the batch; what is known about the modules stays."""
        self._open.clear()

    def resetting(self) -> Callable[[], object]:
        """Prepare `reset`, see `pal.kernels.run`."""
        return self._open.clear

    def measure(self, closure: Closure, backward: Backward = plain_backward) -> Tensor:
        """Evaluate a loss and its gradient at the present weights, and remember how; several terms add up.

        Args:
            closure: runs the forward pass and returns the loss, one number; or computes the gradient, too.
            backward: adds the gradient of the loss to the gradients. Where it scales the loss before (accelerate for
                accumulation, a GradScaler), the loss of the step is scaled alike.

        Returns:
            The loss, detached, 0-dim, in float32 or better.

        Raises:
            TypeError: if the closure returns anything but one number.
            RuntimeError: if the loss has no gradient, or the call comes from inside of a closure.
        """
        self.refuse_inside()
        mode = torch.is_grad_enabled()
        try:
            return self._measure(closure, backward)
        except BaseException:
            torch._C._set_grad_enabled(mode)
            self.roll_back()
            raise

    def again(self) -> Tensor:
        """The loss at the present weights, of the same function: see the rule at the top of this module."""
        if torch.is_grad_enabled():
            return torch.no_grad()(self.again)()
        self.refuse_inside()
        try:
            return self._again(self._open[0])
        except BaseException:
            torch._C._set_grad_enabled(False)
            self.roll_back()
            raise

    @property
    def scaled(self) -> bool:
        """Whether backward scaled a loss of this step before it differentiated."""
        return any(not is_one(term.factor) for batch in self._open for term in batch.terms)

    @property
    def factor(self) -> float | Tensor:
        """By what backward scaled the first loss of this step."""
        return self._open[0].terms[0].factor

    def loss(self) -> Tensor:
        """The loss of the step at the origin, as it was measured."""
        return added([term.of_step(term.loss) for term in self._open[0].terms])

    def rescale(self, factor: float | Tensor) -> None:
        """Multiply the loss of the step, whose gradient somebody has scaled."""
        terms = self._open[0].terms
        terms[:] = [term._replace(factor=term.factor * factor) for term in terms]

    @torch.no_grad()
    def roll_back(self) -> None:
        """Bring back the state of before the first evaluation, and forget the batch."""
        self._contexts.close()
        self.busy = False
        for batch in self._open:
            for moment in (*batch.late, *batch.before, *batch.starts[:1]):
                moment.restore()
            unstash(batch)
        self.reset()

    def refuse_inside(self) -> None:
        """Raise RuntimeError inside of a closure."""
        if self.busy:
            raise RuntimeError(
                "the optimizer was called from inside of its own closure: let the closure compute the loss only"
            )

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> Twins:
        """Let the random draws of a step be captured in a CUDA graph, the same in both evaluations."""
        self._twins = Twins(graph)
        return self._twins

    def _measure(self, closure: Closure, backward: Backward) -> Tensor:
        params = self._params()
        batch, foreign = self._begin(params)
        gradients = [(param.grad, version(param.grad)) for param in params] if batch.terms else None
        versions = list(map(version_of, params))
        self._note(batch, reach(closure, self._known()), batch.before)
        start, autocast = Randomness(batch.reached.generators), autocasts()
        batch.starts.append(start)
        since = torch.autograd._get_sequence_nr()
        loss = self._evaluate(closure, autocast, 0)
        if loss is None and batch.terms:  # a framework's own closure, after a batch was measured
            return torch.zeros(())
        value = number(loss)
        if self.watching and self._check:
            self.doubted |= warn_if_begun_outside(loss, since, params)
        if self.watching or batch.trusted or list(map(version_of, params)) != versions:
            self._look_back(
                batch, [each for each, old in zip(params, versions, strict=True) if each._version != old]
            )
        if touched(params, gradients):
            self._calls_backward = True
            factor = 1.0
            if foreign and not self.cleared:
                warn_of_foreign_gradients()
        else:
            if backward is not plain_backward:
                value = value.clone()  # which may be scaled in place
            factor = backward_factor(backward, loss)
        batch.terms.append(Term(closure, start, autocast, value, factor))
        self.evaluations += 1
        self._draws |= self.watching and start.drew_on_device()
        left = first_gradient(params)
        self._left = (nothing, 0) if left is None else (weakref.ref(left), left._version)
        return value

    def _begin(self, params: Sequence[Tensor]) -> tuple[Batch, bool]:
        """The batch of this step, and whether somebody else had put gradients where its own will be."""
        if self._open:
            return self._open[0], False
        self._open.append(Batch())
        self.evaluations = 0
        self.cleared = False
        there, (left, at) = first_gradient(params), self._left
        kernels.clear_gradients(params)
        return self._open[0], self._check and there is not None and (
            there is not left() or there._version != at
        )

    def _known(self) -> list[nn.Module]:
        """Modules that belong to every closure."""
        seen = [module for each in self._seen if (module := each()) is not None]
        return self._named + seen if seen else self._named

    def _again(self, batch: Batch) -> Tensor:
        if self.watching or batch.reached.stateful:  # something may have been made by the first evaluation
            for term in batch.terms:
                batch.reached.extend(reach(term.closure).without(batch.reached))
        now = Randomness(batch.reached.generators)
        after = Snapshot(batch.reached, batch.kept, batch.shy, self._params())
        stash(batch, self._with_gradients(batch))
        for before in batch.before:
            before.restore()
        self._reshard(batch)
        values: list[Tensor] = []
        for term in batch.terms:
            term.start.restore()
            values.append(term.of_step(number(self._evaluate(term.closure, term.autocast, 1))))
            self.evaluations += 1
        self._reshard(batch)
        for moment in (*batch.late, after, now):
            moment.restore()
        batch.late.clear()
        unstash(batch)
        self.watching = False
        return added(values)

    def _reshard(self, batch: Batch) -> None:
        """Let go of whole weights that FSDP2 keeps for a backward pass: they are of before a move."""
        for module in batch.reached.sharded:
            module.reshard()

    def _evaluate(self, closure: Closure, autocast: tuple[Autocast, ...], evaluation: int) -> Any:
        """Run the closure with gradients enabled; their mode is left to who called."""
        self.busy = True
        here = autocasts() if evaluation else autocast
        if self.watching or self._draws or autocast != here:
            self._prepare(evaluation, autocast, here)
        mode = torch.is_grad_enabled()
        torch._C._set_grad_enabled(True)
        loss = closure()
        torch._C._set_grad_enabled(mode)
        if self._prepared:
            self._contexts.close()
            self._prepared = False
        self.busy = False
        return loss

    def _prepare(self, evaluation: int, autocast: tuple[Autocast, ...], here: tuple[Autocast, ...]) -> None:
        """Enter what goes around an evaluation."""
        self._prepared = True
        if self.watching:
            self._watch(evaluation)
        if autocast != here:
            for context in around(autocast, here):
                self._contexts.enter_context(context)
        if self._draws and capturing():
            self._contexts.enter_context(self._twins_of_graph().drawing(evaluation))

    def _twins_of_graph(self) -> Twins:
        if self._twins is None:
            raise RuntimeError(
                "the closure draws random numbers on CUDA: call register_graph(graph) before capturing it, or the two "
                "evaluations of a step would see different ones"
            )
        return self._twins

    def _note(self, batch: Batch, found: Reached, moments: list[Snapshot]) -> None:
        """Take in what was found, and keep the state of what is new."""
        new = found.without(batch.reached) if batch.reached.modules else found
        kept, shy = self._to_keep(batch, new) if new.tensors or new.frozen else ([], [])
        moments.append(Snapshot(new, kept, shy, self._params()))
        batch.kept += kept
        batch.shy += shy
        batch.reached.extend(new)
        for module in found.parallel:
            self._note_processes(module, module.require_backward_grad_sync)
        active = DistributedDataParallel._get_active_ddp_module()
        if active is not None:  # we are inside of its forward pass, and it prepares to synchronise at its end
            self._note_processes(active, False)

    def _to_keep(self, batch: Batch, new: Reached) -> tuple[list[Tensor], list[Tensor]]:
        """Which tensors to keep by value, and which of these to write to only if they are seen to have changed.

        Other threads may read the latter. Tensors that are too large, or were never seen to change, are trusted.
        """
        kept: list[Tensor] = []
        held = [tensor for tensor in new.tensors if not tensor.requires_grad and not tensor.is_inference()]
        shy: list[Tensor] = []
        if held and (self.watching or self._writes) and nbytes(held) <= BUDGET:
            kept += held
            shy = [] if self._writes else held
        else:
            batch.trusted += [(tensor, tensor._version) for tensor in held]
        if new.frozen and nbytes(new.frozen) <= max(BUDGET, nbytes(self._params())):
            kept += new.frozen
        else:
            batch.trusted += [(tensor, tensor._version) for tensor in new.frozen if not tensor.is_inference()]
        return kept, shy

    def _look_back(self, batch: Batch, written: list[Tensor]) -> None:
        """Learn from the first evaluation what closures write to."""
        if self.watching and not self._writes:
            self._writes = any(each.changed(batch.reached.tensors) for each in batch.before)
        if any(tensor._version != at for tensor, at in batch.trusted):
            self._writes = True
            batch.trusted.clear()
            warnings.warn(
                "the closure writes to a tensor that it holds (a batch changed in place, frozen weights): this step's "
                "second evaluation sees it written twice; later steps bring tensors of up to 64 MiB back",
                ClosureWarning,
                stacklevel=2,
            )
        if written:
            numbers = {id(param) for param in written}
            owners = [
                module
                for module in batch.reached.modules
                if any(id(param) in numbers for param in module._parameters.values())
            ]
            for each in batch.before:
                each.leave_out(owners)

    def _with_gradients(self, batch: Batch) -> list[Tensor]:
        """Parameters whose gradients a further evaluation may touch."""
        params = list(self._params())
        if self._calls_backward:
            params += [
                param for module in batch.reached.modules for param in module.parameters(recurse=False)
            ]
        return params

    def _watch(self, evaluation: int) -> None:
        """Look out for modules that run, in this thread."""
        thread = threading.get_ident()

        def meet(module: nn.Module, _: Any) -> None:
            batch = self._open[0]
            if threading.get_ident() == thread and not any(module is each for each in batch.reached.modules):
                self._seen.append(weakref.ref(module))
                found = Reached()
                walk([module], found)
                self._note(batch, found, batch.late if evaluation else batch.before)

        if "torch._dynamo" in sys.modules:  # something may be compiled: modules inside would not show
            self._contexts.enter_context(torch.compiler.set_stance("force_eager"))
        self._contexts.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Using `torch.compile.* when there are global hooks")
        self._contexts.callback(nn.modules.module.register_module_forward_pre_hook(meet).remove)

    def _note_processes(self, module: DistributedDataParallel, synchronised: bool) -> None:
        if module._join_config.enable:
            raise RuntimeError(
                "PAL cannot share its line with processes that have run out of batches, as in `with "
                "model.join()`: give all "
                "processes the same number of batches"
            )
        self.process_group = cast(ProcessGroup, module.process_group)
        self.unsynchronised = not synchronised


def number(loss: object) -> Tensor:
    """The loss as 0-dim tensor in float32 or better; raise TypeError if it is anything but one number."""
    if not isinstance(loss, Tensor):
        if isinstance(loss, bool) or not isinstance(loss, int | float):
            raise not_one_number(type(loss).__name__)
        return torch.tensor(float(loss), dtype=torch.float64)
    if loss.numel() != 1:
        raise not_one_number(f"a tensor of shape {tuple(loss.shape)}")
    value = loss.detach() if loss.requires_grad else loss
    if value.is_cuda:
        value = value.clone()  # compiled code with CUDA graphs uses the memory of its outputs again
    if value.itemsize < 4:
        value = value.float()
    return value.reshape(()) if value.ndim else value


def not_one_number(found: str) -> TypeError:
    """The error of a closure that returns anything but its loss."""
    return TypeError(f"the closure must return the loss as a tensor with one element; it returned {found}")


def backward_factor(backward: Backward, loss: object) -> float | Tensor:
    """Call backward on the loss; give the factor by which the gradient is that of a larger or smaller loss."""
    if not isinstance(loss, Tensor):
        raise not_one_number(type(loss).__name__)
    if not loss.requires_grad:
        raise RuntimeError(
            "the loss returned by the closure has no gradient: compute it with gradients enabled, from the weights "
            "given to the optimizer"
        )
    if backward is plain_backward:
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        return 1.0
    return seen_factor(backward, loss)


@torch.enable_grad()
def seen_factor(backward: Callable[[Tensor], object], loss: Tensor) -> float | Tensor:
    """Call somebody's backward on the loss; give the factor that it multiplied the loss by."""
    factors: list[Tensor] = []
    handle = loss.register_hook(factors.append)
    backward(loss)
    handle.remove()
    if not factors:
        return 1.0
    factor = number(factors[-1])
    return factor.item() if on_host(factor) else factor


def added(losses: list[Tensor]) -> Tensor:
    """Sum of losses."""
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def is_one(factor: float | Tensor) -> bool:
    """Whether a factor is none."""
    return not isinstance(factor, Tensor) and factor == 1.0


def stash(batch: Batch, params: Iterable[Tensor]) -> None:
    """Put gradients aside."""
    params = list(params)
    batch.stashed += zip(params, map(gradient_of, params), strict=True)
    kernels.clear_gradients(params)


def unstash(batch: Batch) -> None:
    """Give parameters their gradients back."""
    for param, gradient in batch.stashed:
        param.grad = gradient
    batch.stashed.clear()


def first_gradient(params: Sequence[Tensor]) -> Tensor | None:
    """The first gradient that is there."""
    for param in params:
        if (gradient := param.grad) is not None:
            return gradient
    return None


def touched(params: Sequence[Tensor], gradients: list[tuple[Tensor | None, int]] | None) -> bool:
    """Whether gradients are others than they were; None: there were none."""
    if gradients is None:
        return any(param.grad is not None for param in params)
    return any(
        param.grad is not old or version(old) != at
        for param, (old, at) in zip(params, gradients, strict=True)
    )


def version(tensor: Tensor | None) -> int:
    """How often a tensor was written to; 0 where there is none yet."""
    return 0 if tensor is None or is_lazy(tensor) else tensor._version


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Size of all tensors together."""
    return sum(tensor.nbytes for tensor in tensors if is_plain(tensor))
