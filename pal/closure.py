"""The loss of one step as a function of the weights: the same batch, the same random draws, statistics left alone.

A line search evaluates one batch at several weights. Dropout must draw the same masks each time, or the losses do not
belong to one function; and norm layers must not count the batch again, or their running statistics drift.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.nn.parallel import DistributedDataParallel

Closure = Callable[[], Tensor]


class Randomness:
    """State of the random number generators of the CPU and of every CUDA device in use."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def replay(self) -> None:
        """Put every generator back to this state."""
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


@contextmanager
def called_modules() -> Iterator[list[nn.Module]]:
    """Collect the modules that are called inside, each once."""
    seen: dict[int, nn.Module] = {}

    def note(module: nn.Module, _: Any) -> None:
        seen.setdefault(id(module), module)

    modules: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield modules
    finally:
        handle.remove()
        modules.extend(seen.values())


@contextmanager
def frozen_statistics(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Norm layers in training mode compute what they always do, but leave running statistics and counters alone.

    They normalise by the statistics of the batch, so hiding the running ones changes no output; nothing is copied.
    """
    hidden: list[tuple[nn.Module, Tensor | None, Tensor | None]] = []
    try:
        for layer in layers:
            if layer.training and layer.track_running_stats:
                buffers = layer._buffers
                hidden.append((layer, buffers["running_mean"], buffers["running_var"]))
                layer.__dict__["track_running_stats"] = False
                buffers["running_mean"] = buffers["running_var"] = None
        yield
    finally:
        for layer, mean, variance in hidden:
            layer.__dict__["track_running_stats"] = True
            layer._buffers["running_mean"], layer._buffers["running_var"] = mean, variance


def norm_layers(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """All layers of torch with running statistics inside the modules, each once."""
    layers = {id(layer): layer for module in modules for layer in module.modules() if isinstance(layer, _NormBase)}
    return list(layers.values())


class BatchLoss:
    """The loss of one step as a function of the weights.

    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> batch_loss = BatchLoss()
    >>> batch_loss.measure(lambda: (weight * torch.ones(1)).square().sum())
    tensor(9.)
    >>> weight.grad
    tensor([6.])
    >>> with torch.no_grad():
    ...     _ = weight.zero_()
    >>> batch_loss.again()
    tensor(0.)
    """

    def __init__(self) -> None:
        self._terms: list[tuple[Closure, Randomness]] = []
        self._layers: list[nn.Module] | None = None
        self.process_group: Any = None
        self.evaluations = 0

    def reset(self) -> None:
        """Forget the batch; what is known about the modules stays."""
        self._terms.clear()
        self.evaluations = 0

    def measure(self, closure: Closure, backward: Callable[[Tensor], Any] = Tensor.backward) -> Tensor:
        """Evaluate the loss with its gradient, and remember the batch; terms of several calls add up.

        Args:
            closure: runs the forward pass and returns the loss, a scalar.
            backward: fills the gradients.

        Returns:
            The loss, detached.
        """
        randomness = Randomness()
        with torch.enable_grad():
            loss = self._discover(closure) if self._layers is None else closure()
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise TypeError(f"closure must return the loss as a tensor with one element, got {loss!r}")
            backward(loss)
        self._terms.append((closure, randomness))
        self.evaluations += 1
        return loss.detach().reshape(())

    @torch.no_grad()
    def again(self) -> Tensor:
        """The loss at the present weights: no gradient, the same random draws, no statistics updated."""
        now = Randomness()
        with frozen_statistics(self._layers or ()):
            total: Tensor | None = None
            for closure, randomness in self._terms:
                randomness.replay()
                loss = closure().detach().reshape(())
                total = loss if total is None else total + loss
        now.replay()
        self.evaluations += 1
        assert total is not None
        return total

    def _discover(self, closure: Closure) -> Tensor:
        """Evaluate the closure and find the norm layers it uses."""
        eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in _loaded() else nullcontext()
        with warnings.catch_warnings(), eager, called_modules() as modules:
            warnings.filterwarnings("ignore", message="Using `torch.compile\\(module\\)` when there are global hooks")
            loss = closure()
        self._layers = norm_layers(modules)
        for module in modules:
            if isinstance(module, DistributedDataParallel):
                self.process_group = module.process_group
        return loss


def _loaded() -> Any:
    import sys

    return sys.modules
