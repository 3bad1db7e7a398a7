"""The loss of one step as a function of the weights alone: one batch, one function, whatever the closure does.

A line search evaluates a closure several times, and all values must belong to the same function. `BatchLoss` ensures
this by the following rule:

1. Before the first evaluation, everything that the closure can reach is found (`pal.reach`) and its state is saved:
   buffers and weights that PAL does not move by value, attributes and train or eval modes of modules, and all random
   generators.
2. The first evaluation yields the loss and its gradient. The state that it leaves behind is that after the batch.
3. Each further evaluation starts from the state before the first one, with the same random numbers, under the same
   autocast, and with gradients enabled as in the first. Only the weights differ.
4. Afterwards the state after the first evaluation is restored, so that the batch counts once. This includes the
   gradients, which the closure may have computed or cleared.
5. An error or an interrupt at any point restores the state before the first evaluation.

A module that initialises its own weights from data in the first evaluation keeps the state that belongs to them. State
outside all of this (files, generators inside other libraries, a batch fetched by the closure) cannot be restored;
`pal.check` detects it.
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
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from pal import kernels
from pal.check import ACCUMULATED_ELSEWHERE, ClosureWarning, computed_outside, warn, warn_if_shared
from pal.line import on_host
from pal.randomness import PairedGenerators, Randomness, accelerator, capturing
from pal.reach import Reached, collect_modules, reach
from pal.snapshot import Snapshot, is_plain

Closure = Callable[[], Any]
Backward = Callable[[Tensor], Any]

version_of, gradient_of = attrgetter("_version"), attrgetter("grad")

MAX_COPIED_BYTES = 2**26
"""Largest total size of tensors other than buffers that are saved; for frozen weights, at least that of the weights."""


def no_gradient() -> None:
    """Stand in for a weak reference to a gradient that does not exist."""


def plain_backward(loss: Tensor) -> None:
    """Call backward on the loss."""
    loss.backward()


class Autocast(NamedTuple):
    """State of autocast for one device type."""

    device_type: str
    dtype: torch.dtype
    enabled: bool
    cache_enabled: bool


def autocast_state() -> tuple[Autocast, ...]:
    """The current state of autocast, for the CPU and the accelerator; empty if it is disabled for both."""
    if not torch._C._is_any_autocast_enabled():
        return ()
    device = accelerator()
    cached = torch.is_autocast_cache_enabled()
    return tuple(
        Autocast(each, torch.get_autocast_dtype(each), torch.is_autocast_enabled(each), cached)
        for each in ("cpu", device)
        if each is not None
    )


def autocast_contexts(wanted: tuple[Autocast, ...], current: tuple[Autocast, ...]) -> list[torch.autocast]:
    """The contexts that change the state of autocast from `current` to `wanted`."""
    states = wanted or [each._replace(enabled=False) for each in current]
    return [torch.autocast(*each) for each in states]


class Term(NamedTuple):
    """One micro-batch: its closure, how to evaluate it again, its loss, and the factor of that in the step's loss."""

    closure: Closure
    randomness: Randomness
    autocast: tuple[Autocast, ...]
    loss: Tensor
    factor: float | Tensor

    def scaled(self, loss: Tensor) -> Tensor:
        """A loss of this closure, times the factor."""
        return loss if is_one(self.factor) else loss * self.factor


@dataclass
class Batch:
    """The batch of one step, and the state to restore.

    Attributes:
        params: the weights that move.
        terms: the closures, one for each micro-batch; their losses add up.
        randomness: states of the random generators before the first evaluation of each closure.
        before: states of modules and tensors before the first evaluation.
        late: such states of modules that were first found during a further evaluation.
        reached: everything that the closures reach.
        saved: tensors other than buffers that snapshots copy.
        restore_if_changed: those of them that are written to only if they have changed.
        unsaved: tensors that are not copied, with their versions.
        stashed: gradients put aside during a further evaluation.
        outside: nodes of the autograd graph that may have been created outside the closure.
    """

    params: Sequence[Tensor] = ()
    terms: list[Term] = field(default_factory=list)
    randomness: list[Randomness] = field(default_factory=list)
    before: list[Snapshot] = field(default_factory=list)
    late: list[Snapshot] = field(default_factory=list)
    reached: Reached = field(default_factory=Reached)
    saved: list[Tensor] = field(default_factory=list)
    restore_if_changed: list[Tensor] = field(default_factory=list)
    unsaved: list[tuple[Tensor, int]] = field(default_factory=list)
    stashed: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    outside: set[Any] = field(default_factory=set)


class BatchLoss:
    """The loss of one step as a function of the weights, by the rule at the top of this module.

    Args:
        params: returns the weights that move. If a closure fills their gradients, it has called backward itself. None
            if any weight that requires a gradient may move: then none of them is restored, nor its gradient.
        modules: modules that belong to every closure, in addition to those that are found.
        check: whether to warn of closures that look wrong.

    Attributes:
        evaluations: number of forward passes in this step so far.
        watching: whether the next evaluations detect modules that run but were not found in the closure. They bypass
            torch.compile then. Set it when there may be new modules.
        evaluating: whether a closure is being evaluated.
        warned: whether a closure has caused a warning.
        process_group: that of the DistributedDataParallel module in the closure, if any.
        unsynchronised: whether that module did not average the gradients of the last closure over the processes.

    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> batch_loss = BatchLoss(lambda: [weight])
    >>> batch_loss.measure(lambda: nn.functional.dropout(weight).square().sum() * 0 + weight.square().sum())
    tensor(9.)
    >>> weight.grad
    tensor([6.])
    >>> with torch.no_grad():
    ...     _ = weight.zero_()
    >>> batch_loss.reevaluate()
    tensor(0.)
    """

    def __init__(
        self,
        params: Callable[[], Sequence[Tensor]] | None = None,
        modules: Iterable[nn.Module] = (),
        check: bool = True,
    ) -> None:
        self.evaluations = 0
        self.watching = True
        self.evaluating = False
        self.process_group: ProcessGroup | None = None
        self.unsynchronised = False
        self._params: Callable[[], Sequence[Tensor]] = tuple if params is None else params
        self._any_moves = params is None
        self._named_modules = list(modules)
        self._check = check
        self._detected: list[weakref.ref[nn.Module]] = []  # modules that ran but were not found
        self._batches: list[Batch] = []  # one or none: an interrupt cannot occur while a list is cleared
        self._contexts = ExitStack()
        self._entered = False  # whether contexts were entered
        self.warned = False
        self._last_gradient: tuple[Callable[[], Tensor | None], int] = no_gradient, 0  # with its version
        self._write_weights: weakref.WeakSet[nn.Module] = (
            weakref.WeakSet()
        )  # modules that write to their weights
        self._writes = False  # whether a closure has written to tensors that it holds
        self._moving: dict[
            int, Tensor
        ] = {}  # weights that have had a gradient, which no evaluation restores, by id
        self._calls_backward = False  # whether a closure has called backward itself
        self._draws = False  # whether a closure has drawn random numbers on an accelerator
        self._generators: PairedGenerators | None = None

    def __len__(self) -> int:
        """Number of closures measured since `reset`."""
        return len(self._batches[0].terms) if self._batches else 0

    def reset(self) -> None:
        """Discard the batch, but not what is known about the modules."""
        self._batches.clear()

    def prepare_reset(self) -> Callable[[], object]:
        """Prepare `reset`, see `pal.kernels.run`."""
        return self._batches.clear

    def measure(self, closure: Closure, backward: Backward = plain_backward) -> Tensor:
        """Evaluate a loss and its gradient at the current weights; losses of several calls add up.

        Args:
            closure: runs the forward pass and returns the loss; it may also call backward.
            backward: calls backward on the loss. If it scales the loss first, as a GradScaler does, or accelerate for
                gradient accumulation, the loss of the step is scaled by the same factor.

        Returns:
            The loss, detached, 0-dim, in float32 or a wider type.

        Raises:
            TypeError: if the closure returns anything but one number.
            RuntimeError: if the loss has no gradient, or this is called from inside a closure.
        """
        self.refuse_reentry()
        mode = torch.is_grad_enabled()
        try:
            return self._measure(closure, backward)
        except BaseException:
            torch._C._set_grad_enabled(mode)
            self.roll_back()
            raise

    def reevaluate(self) -> Tensor:
        """Evaluate the same function at the current weights, by the rule at the top of this module."""
        if torch.is_grad_enabled():
            return torch.no_grad()(self.reevaluate)()
        self.refuse_reentry()
        try:
            return self._reevaluate(self._batches[0])
        except BaseException:
            torch._C._set_grad_enabled(False)
            self.roll_back()
            raise

    @property
    def scaled(self) -> bool:
        """Whether `backward` has scaled a loss of this step."""
        return any(not is_one(term.factor) for batch in self._batches for term in batch.terms)

    @property
    def factor(self) -> float | Tensor:
        """The factor by which `backward` has scaled the first loss of this step."""
        return self._batches[0].terms[0].factor

    def own_gradients(self) -> None:
        """Copy gradients that lie in the memory of DistributedDataParallel, if an evaluation at the probe fills it."""
        parallel = self._batches[0].reached.parallel
        if self._calls_backward and any(module.gradient_as_bucket_view for module in parallel):
            for param in self._batches[0].params:
                if param.grad is not None:
                    param.grad = param.grad.clone()

    def loss(self) -> Tensor:
        """The measured loss of the step, at the weights where it began."""
        return total([term.scaled(term.loss) for term in self._batches[0].terms])

    def rescale(self, factor: float | Tensor) -> None:
        """Multiply the loss of the step, measured and to come, by the factor by which its gradient was rescaled."""
        terms = self._batches[0].terms
        terms[:] = [term._replace(factor=term.factor * factor) for term in terms]

    @torch.no_grad()
    def roll_back(self) -> None:
        """Restore the state before the first evaluation, and discard the batch."""
        self._contexts.close()
        self.evaluating = False
        for batch in self._batches:
            for state in (*batch.late, *batch.before, *reversed(batch.randomness)):
                state.restore()
            unstash_gradients(batch)
        self.reset()

    def refuse_reentry(self) -> None:
        """Raise RuntimeError if a closure is being evaluated."""
        if self.evaluating:
            raise RuntimeError(
                "the optimizer was called from inside its own closure: a closure may only compute the loss"
            )

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> PairedGenerators:
        """Prepare the capture of a step in a CUDA graph such that both evaluations draw the same random numbers."""
        self._generators = PairedGenerators(graph)
        return self._generators

    def _measure(self, closure: Closure, backward: Backward) -> Tensor:
        params = self._params()
        batch, others_left = self._begin(params)
        versions = list(map(version_of, params))
        self._save(batch, self._reach(closure), batch.before)
        mark = Mark(others_left) if others_left is not None and not batch.reached.parallel else None
        marked = batch.terms or mark is not None
        gradients = [(param.grad, version(param.grad)) for param in params] if marked else None
        randomness, autocast = Randomness(batch.reached.generators), autocast_state()
        batch.randomness.append(randomness)
        since = torch.autograd._get_sequence_nr()
        loss = self._evaluate(closure, autocast, 0)
        if loss is None and (batch.terms or belongs_to_lightning(closure)):
            return torch.zeros(())  # `backward` has measured the batch, or `training_step` skips it
        value = loss_value(loss)
        if self.watching and self._check:
            batch.outside |= computed_outside(loss, since, params)
        calls_backward = gradients_changed(params, gradients)
        if mark is not None and mark.remove():
            warn(ACCUMULATED_ELSEWHERE)
        if calls_backward:
            self._calls_backward, factor = True, 1.0
        else:
            value, factor = self._differentiate(loss, value, backward)
        self._learn(batch, params, versions)
        batch.terms.append(Term(closure, randomness, autocast, value, factor))
        self.evaluations += 1
        self._draws |= self.watching and randomness.drew_on_device()
        left = first_gradient(params)
        self._last_gradient = (no_gradient, 0) if left is None else (weakref.ref(left), left._version)
        return value

    def _differentiate(self, loss: Any, value: Tensor, backward: Backward) -> tuple[Tensor, float | Tensor]:
        """Call `backward` on the loss; returns its value and the factor by which `backward` scaled it."""
        if backward is not plain_backward:
            value = value.clone()  # backward may scale the loss in place
        self.evaluating = True  # `backward` may clear the gradients first
        factor = call_backward(backward, loss)
        self.evaluating = False
        return value, factor

    def _learn(self, batch: Batch, params: Sequence[Tensor], versions: list[int]) -> None:
        """Learn from a first evaluation which weights move, and what the closure writes to."""
        if self.watching or len(self._moving) < len(params):
            self._moving = self._let_go(batch)
        if self.watching or batch.unsaved or list(map(version_of, params)) != versions:
            pairs = zip(params, versions, strict=True)
            self._detect_writes(
                batch, [each for each, old in pairs if each._version != old and each.grad is not None]
            )

    def _begin(self, params: Sequence[Tensor]) -> tuple[Batch, Tensor | None]:
        """Begin a batch, or continue the current one; also return a weight with someone else's gradient."""
        if self._batches:
            return self._batches[0], None
        self._batches.append(Batch(params))
        self.evaluations = 0
        gradient, (last, version) = first_gradient(params), self._last_gradient
        others_left = None
        if self._check and gradient is not None and (gradient is not last() or gradient._version != version):
            others_left = next(param for param in params if param.grad is gradient)
        kernels.clear_gradients(params)
        return self._batches[0], others_left

    def _reach(self, closure: Closure) -> Reached:
        """Everything that a closure reaches before its first evaluation; of weights that FSDP2 shards, the shards."""
        found = reach(closure, self._known_modules())
        if not found.sharded:
            return found
        reshard(found)
        return reach(closure, self._known_modules())

    def _known_modules(self) -> list[nn.Module]:
        """Modules that belong to every closure: those named by the user, and those detected while they ran."""
        if not self._detected:
            return self._named_modules
        detected = [module for each in self._detected if (module := each()) is not None]
        return self._named_modules + detected

    def _reevaluate(self, batch: Batch) -> Tensor:
        if self.watching or batch.reached.stateful:  # the first evaluation may have created something
            for term in batch.terms:
                batch.reached.extend(reach(term.closure).without(batch.reached))
        randomness = Randomness(batch.reached.generators)
        after = Snapshot(batch.reached, batch.saved, batch.restore_if_changed, self._moving.values())
        stash_gradients(batch, self._params_with_gradients(batch))
        for before in batch.before:
            before.restore()
        reshard(batch.reached)
        values: list[Tensor] = []
        for term in batch.terms:
            term.randomness.restore()
            loss = self._evaluate(term.closure, term.autocast, 1)
            if batch.outside and not self.warned:
                self.warned = warn_if_shared(loss, batch.outside)
            values.append(term.scaled(loss_value(loss)))
            del loss
            self.evaluations += 1
        reshard(batch.reached)
        for state in (*batch.late, after, randomness):
            state.restore()
        batch.late.clear()
        unstash_gradients(batch)
        self.watching = False
        return total(values)

    def _let_go(self, batch: Batch) -> dict[int, Tensor]:
        """The weights that have had a gradient in any step; the batch does not restore those that have one now."""
        new = [param for param in self._others(batch.params) if param.grad is not None]
        if new:
            for before in batch.before:
                before.forget(new)
        return {id(param): param for param in batch.params if id(param) in self._moving} | {
            id(param): param for param in new
        }

    def _others(self, params: Iterable[Tensor]) -> list[Tensor]:
        """Those of some parameters that PAL has never moved, and so restores."""
        if self._any_moves:
            return [param for param in params if not param.requires_grad]
        return [param for param in params if id(param) not in self._moving]

    def _evaluate(self, closure: Closure, autocast: tuple[Autocast, ...], evaluation: int) -> Any:
        """Call the closure with gradients enabled, and restore the grad mode; after an error the caller does."""
        self.evaluating = True
        current = autocast_state() if evaluation else autocast
        if self.watching or self._draws or autocast != current:
            self._enter_contexts(evaluation, autocast, current)
        mode = torch.is_grad_enabled()
        torch._C._set_grad_enabled(True)
        loss = closure()
        torch._C._set_grad_enabled(mode)
        if self._entered:
            self._contexts.close()
            self._entered = False
        self.evaluating = False
        return loss

    def _enter_contexts(
        self, evaluation: int, autocast: tuple[Autocast, ...], current: tuple[Autocast, ...]
    ) -> None:
        """Enter the contexts for an evaluation."""
        self._entered = True
        if self.watching:
            self._watch_modules(evaluation)
        if autocast != current:
            for context in autocast_contexts(autocast, current):
                self._contexts.enter_context(context)
        if self._draws and capturing():
            self._contexts.enter_context(self._captured_generators().use(evaluation))

    def _captured_generators(self) -> PairedGenerators:
        if self._generators is None:
            raise RuntimeError(
                "the closure draws random numbers on CUDA: call register_graph(graph) before the capture, or the two "
                "evaluations of a step would draw different numbers"
            )
        return self._generators

    def _save(self, batch: Batch, found: Reached, snapshots: list[Snapshot]) -> None:
        """Add what was found to the batch, and a snapshot of what is new."""
        first = not batch.before
        new = found if first else found.without(batch.reached)
        saved, restore_if_changed = self._select(batch, new)
        snapshots.append(Snapshot(new, saved, restore_if_changed, self._moving.values()))
        batch.saved += saved
        batch.restore_if_changed += restore_if_changed
        if first:
            batch.reached = new
        else:
            batch.reached.extend(new)
        for module in found.parallel:
            self._use_process_group(module, module.require_backward_grad_sync)
        if any(module.process_group.size() > 1 for module in found.flat):
            raise RuntimeError(
                "PAL does not support FullyShardedDataParallel, which hides from it that each process has a part of "
                "each weight only: use fully_shard (FSDP2)"
            )
        active = DistributedDataParallel._get_active_ddp_module()
        if active is not None:  # its forward pass is running, and will prepare to average the gradients
            self._use_process_group(active, False)

    def _select(self, batch: Batch, new: Reached) -> tuple[list[Tensor], list[Tensor]]:
        """Select the tensors to save, and those of them to write to only if they have changed.

        Other threads may read the latter. Tensors that are too large, or have never been seen to change, are not saved,
        but their versions are noted.
        """
        saved: list[Tensor] = []
        held = [
            each
            for each in self._others([*new.tensors, *new.trained])
            if not is_lazy(each) and each.is_leaf and not each.is_inference()
        ]
        restore_if_changed: list[Tensor] = []
        if held and (self.watching or self._writes):
            small, held = split_by_size(held, MAX_COPIED_BYTES)
            saved += small
            # on the CPU, comparing is cheap, and memory may be read-only
            restore_if_changed = list(filter(on_host, small)) if self._writes else small
        batch.unsaved += [(tensor, tensor._version) for tensor in held]
        if new.frozen and nbytes(new.frozen) <= max(MAX_COPIED_BYTES, nbytes(batch.params)):
            saved += new.frozen
        else:
            batch.unsaved += [(tensor, tensor._version) for tensor in new.frozen if not tensor.is_inference()]
        return saved, restore_if_changed

    def _detect_writes(self, batch: Batch, written: list[Tensor]) -> None:
        """Learn from the first evaluation what closures write to; `written` are the weights that have changed."""
        if self.watching and not self._writes:
            held = [*batch.reached.tensors, *batch.reached.trained]
            self._writes = any(each.changed(held) for each in batch.before)
        if any(tensor._version != at for tensor, at in batch.unsaved):
            self._writes = True
            batch.unsaved.clear()
            warnings.warn(
                "the closure writes to a tensor that it holds (a batch changed in place, frozen weights): in this "
                "step, the second evaluation sees it written twice; from now on, tensors of up to 64 MiB are restored",
                ClosureWarning,
                stacklevel=2,
            )
        if written:
            ids = {id(param) for param in written}
            owners = [
                module
                for module in batch.reached.modules
                if any(id(param) in ids for param in module._parameters.values())
            ]
            for each in batch.before:  # those that write in every step do not initialise anything
                each.discard([module for module in owners if module not in self._write_weights])
            self._write_weights.update(owners)

    def _params_with_gradients(self, batch: Batch) -> Sequence[Tensor]:
        """Parameters whose gradients a further evaluation may change."""
        held = [each for each in batch.reached.tensors if each.requires_grad and each.is_leaf]
        return [*batch.params, *self._others([*batch.reached.trained, *held])]

    def _watch_modules(self, evaluation: int) -> None:
        """Detect modules that run in this thread but were not found in the closure."""
        thread = threading.get_ident()

        def detect(module: nn.Module, _: Any) -> None:
            batch = self._batches[0]
            if threading.get_ident() == thread and not any(module is each for each in batch.reached.modules):
                self._detected.append(weakref.ref(module))
                found = Reached()
                collect_modules([module], found)
                self._save(batch, found, batch.late if evaluation else batch.before)

        if "torch._dynamo" in sys.modules:  # modules inside compiled code would not be detected
            self._contexts.enter_context(torch.compiler.set_stance("force_eager"))
        self._contexts.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Using `torch.compile.* when there are global hooks")
        self._contexts.callback(nn.modules.module.register_module_forward_pre_hook(detect).remove)

    def _use_process_group(self, module: DistributedDataParallel, synchronised: bool) -> None:
        if module._join_config.enable:
            raise RuntimeError(
                "PAL cannot share its line with processes that have run out of batches, as with `model.join()`: give "
                "all processes the same number of batches"
            )
        self.process_group = cast(ProcessGroup, module.process_group)
        self.unsynchronised = not synchronised


class Mark:
    """Zeros in place of a gradient that someone else has left: whether the closure adds its own to it is seen there."""

    def __init__(self, param: Tensor) -> None:
        self._param = param
        self._zeros = param.grad = torch.zeros_like(param)
        self._version = self._zeros._version

    def remove(self) -> bool:
        """Remove the zeros if they are still there, and return whether the closure has added to them."""
        if self._param.grad is not self._zeros:
            return False
        if self._zeros._version == self._version:
            self._param.grad = None
        return self._zeros._version == self._version + 1  # cleared in place, it would be one more


def reshard(found: Reached) -> None:
    """Free the gathered weights that FSDP2 keeps for a backward pass, which are out of date after a move."""
    for module in found.sharded:
        module.reshard()


def belongs_to_lightning(closure: Closure) -> bool:
    """Whether a closure is that of Lightning's automatic optimization."""
    function = getattr(closure, "func", closure)
    return getattr(function, "__module__", "").startswith(("lightning.", "pytorch_lightning."))


def loss_value(loss: object) -> Tensor:
    """The loss, detached, 0-dim, in float32 or a wider type; TypeError if it is anything but one number."""
    if not isinstance(loss, Tensor):
        if isinstance(loss, bool) or not isinstance(loss, int | float):
            raise not_one_number(type(loss).__name__)
        return torch.tensor(float(loss), dtype=torch.float64)
    if loss.numel() != 1:
        raise not_one_number(f"a tensor of shape {tuple(loss.shape)}")
    value = loss.detach() if loss.requires_grad else loss
    if value.is_cuda:
        value = value.clone()  # compiled code with CUDA graphs reuses the memory of its outputs
    if value.itemsize < 4:
        value = value.float()
    return value.reshape(()) if value.ndim else value


def not_one_number(found: str) -> TypeError:
    """The error for a closure that returns anything but one number."""
    return TypeError(f"the closure must return the loss as a tensor with one element; it returned {found}")


def call_backward(backward: Backward, loss: object) -> float | Tensor:
    """Call `backward` on the loss, and return the factor by which it scaled the loss."""
    if not isinstance(loss, Tensor):
        raise not_one_number(type(loss).__name__)
    if not loss.requires_grad:
        raise RuntimeError(
            "the loss returned by the closure has no gradient: compute it with gradients enabled, from the parameters "
            "given to the optimizer"
        )
    if backward is plain_backward:
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        return 1.0
    return observed_factor(backward, loss)


@torch.enable_grad()
def observed_factor(backward: Callable[[Tensor], object], loss: Tensor) -> float | Tensor:
    """Call a user's `backward`, and return the gradient of what it differentiated with respect to the loss."""
    factors: list[Tensor] = []
    handle = loss.register_hook(factors.append)
    backward(loss)
    handle.remove()
    if not factors:
        return 1.0
    factor = loss_value(factors[-1])
    return factor.item() if on_host(factor) else factor


def total(losses: list[Tensor]) -> Tensor:
    """Sum of losses."""
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def is_one(factor: float | Tensor) -> bool:
    """Whether a factor is known to be 1, without reading it from a device."""
    return not isinstance(factor, Tensor) and factor == 1.0


def stash_gradients(batch: Batch, params: Sequence[Tensor]) -> None:
    """Put gradients aside."""
    batch.stashed += zip(params, map(gradient_of, params), strict=True)
    kernels.clear_gradients(params)


def unstash_gradients(batch: Batch) -> None:
    """Put the stashed gradients back."""
    for param, gradient in batch.stashed:
        param.grad = gradient
    batch.stashed.clear()


def first_gradient(params: Sequence[Tensor]) -> Tensor | None:
    """The gradient of the first parameter that has one."""
    for param in params:
        if (gradient := param.grad) is not None:
            return gradient
    return None


def gradients_changed(params: Sequence[Tensor], gradients: list[tuple[Tensor | None, int]] | None) -> bool:
    """Whether gradients differ from those before, given with their versions; None means that there were none."""
    if gradients is None:
        return first_gradient(params) is not None
    return any(
        param.grad is not old or version(old) != at
        for param, (old, at) in zip(params, gradients, strict=True)
    )


def version(tensor: Tensor | None) -> int:
    """The version counter of a tensor; 0 if there is no tensor, or it has no memory yet."""
    return 0 if tensor is None or is_lazy(tensor) else tensor._version


def split_by_size(tensors: Iterable[Tensor], limit: int) -> tuple[list[Tensor], list[Tensor]]:
    """The smallest tensors up to a total of `limit` bytes, and all others."""
    sizes = accumulate(map(size_of, ordered := sorted(tensors, key=size_of)))
    count = sum(size <= limit for size in sizes)
    return ordered[:count], ordered[count:]


def size_of(tensor: Tensor) -> int:
    """Size of a tensor in bytes; 0 if it cannot be copied."""
    return tensor.nbytes if is_plain(tensor) else 0


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Total size of tensors, in bytes."""
    return sum(map(size_of, tensors))
