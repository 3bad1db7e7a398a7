"""The loss of one step as a function of the weights: the same batch, the same random draws, nothing remembered twice.

A line search evaluates one batch at several weights. Dropout must draw the same masks each time, or the losses do not
belong to one function; and norm layers must not count the batch again, or their running statistics drift.
"""

import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parallel import DistributedDataParallel

from pal.modules import Modules
from pal.randomness import Randomness, Twins, capturing

Closure = Callable[[], Tensor]
Backward = Callable[[Tensor], Any]


def plain_backward(loss: Tensor) -> None:
    """Add the gradient of the loss to the gradients."""
    loss.backward()  # pyright: ignore[reportUnknownMemberType]


class BatchLoss:
    """The loss of one step as a function of the weights.

    The modules behind the loss are found by watching the first evaluations, which run without torch.compile for that.

    Attributes:
        evaluations: forward passes since `reset`.
        process_group: that of the DistributedDataParallel module among the modules, if any.
        watching: whether the next evaluations look out for modules; set it when new ones may have come.

    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> batch_loss = BatchLoss()
    >>> batch_loss.measure(lambda: nn.functional.dropout(weight).square().sum() * 0 + weight.square().sum())
    tensor(9.)
    >>> weight.grad
    tensor([6.])
    >>> with torch.no_grad():
    ...     _ = weight.zero_()
    >>> batch_loss.again()
    tensor(0.)
    """

    def __init__(self) -> None:
        self.evaluations = 0
        self.process_group: ProcessGroup | None = None
        self.watching = True
        self._modules = Modules()
        self._terms: list[tuple[Closure, Randomness]] = []
        self._draws = False
        self._twins: Twins | None = None

    def __len__(self) -> int:
        """Number of terms measured since `reset`."""
        return len(self._terms)

    def reset(self) -> None:
        """Forget the batch; what is known about the modules stays."""
        self._terms.clear()
        self.evaluations = 0

    def measure(self, closure: Closure, backward: Backward = plain_backward) -> Tensor:
        """Evaluate a loss and its gradient at the present weights, and remember how; several terms add up.

        Args:
            closure: runs the forward pass and returns the loss, one number, with its graph.
            backward: adds the gradient of the loss to the gradients.

        Returns:
            The loss, detached, 0-dim, in float32 or better.

        Raises:
            TypeError: if the closure returns anything but a tensor with one element.
            RuntimeError: if the loss has no gradient.
        """
        if not self._terms:
            self._modules.remember()
        term = closure, Randomness()
        with torch.enable_grad():
            loss = self._evaluate(closure, 0)
            value = number(loss)
            if not loss.requires_grad:
                raise RuntimeError(
                    "the loss returned by the closure has no gradient: compute it with gradients enabled"
                )
            backward(loss)
        self._terms.append(term)
        self.evaluations += 1
        self._draws |= self.watching and term[1].drew_on_cuda()
        return value

    def again(self) -> Tensor:
        """The loss at the present weights: no gradients, the same random draws, no statistics updated."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.again()
        now = Randomness()
        self._modules.rewind()
        values: list[Tensor] = []
        try:
            for closure, moment in self._terms:
                moment.replay()
                values.append(number(self._evaluate(closure, 1)))
                self.evaluations += 1
        finally:
            self._modules.forward()
            now.replay()
        self.watching = False
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def register_graph(self, graph: torch.cuda.CUDAGraph) -> Twins:
        """Let the random draws of a step be captured in a CUDA graph, the same in both evaluations."""
        self._twins = Twins(graph)
        return self._twins

    def _evaluate(self, closure: Closure, evaluation: int) -> Tensor:
        if self.watching:
            return self._watched(closure)
        if not self._draws or not capturing():
            return closure()
        if self._twins is None:
            raise RuntimeError(
                "the closure draws random numbers on CUDA: call register_graph(graph) before capturing it, or the two "
                "evaluations of a step would see different ones"
            )
        with self._twins.drawing(evaluation):
            return closure()

    def _watched(self, closure: Closure) -> Tensor:
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:  # something may be compiled: modules inside would not show
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Using `torch.compile.* when there are global hooks")
            stack.enter_context(nn.modules.module.register_module_forward_pre_hook(self._note))
            # Lightning takes its steps inside of the forward pass of this module.
            self._note_processes(DistributedDataParallel._get_active_ddp_module())  # pyright: ignore[reportPrivateUsage]
            return closure()

    def _note(self, module: nn.Module, _: Any) -> None:
        self._modules.add(module)
        self._note_processes(module)

    def _note_processes(self, module: nn.Module | None) -> None:
        if isinstance(module, DistributedDataParallel):
            self.process_group = cast(ProcessGroup, module.process_group)


def number(loss: object) -> Tensor:
    """The loss as 0-dim tensor in float32 or better; raise TypeError if it is anything but one number."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"the closure must return the loss as a tensor with one element; it returned {found}")
    value = loss.detach() if loss.requires_grad else loss
    if value.is_cuda:
        value = value.clone()  # compiled code with CUDA graphs uses the memory of its outputs again
    if value.itemsize < 4:
        value = value.float()
    return value.reshape(()) if value.ndim else value
