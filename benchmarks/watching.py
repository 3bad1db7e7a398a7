"""How often an optimizer evaluates the loss, and what it holds in memory meanwhile."""

import gc
from collections.abc import Callable

from torch import Tensor, nn


class Watched:
    """A loss that counts its evaluations, and measures what an optimizer holds during them.

    Attributes:
        forward: number of evaluations.
        backward: number of backward passes through it.
        held: the most bytes of tensors besides `known`, since `watch` was called.
    """

    def __init__(self, loss: Callable[[], Tensor]) -> None:
        self.forward = self.backward = self.held = 0
        self._loss = loss
        self._known: Callable[[], set[int]] | None = None

    def __call__(self) -> Tensor:
        """Evaluate."""
        self.forward += 1
        self.look()
        loss = self._loss()
        if loss.requires_grad:
            loss.register_hook(self._count_backward)
        return loss

    def _count_backward(self, _: Tensor) -> None:
        self.backward += 1

    def watch(self, known: Callable[[], set[int]] | None) -> None:
        """Start to measure memory, except for the known tensors; stop with None."""
        self._known = known

    def look(self) -> None:
        """Record how much is held now."""
        if self._known is not None:
            self.held = max(self.held, sum(storages(self._known()).values()))


def storages(known: set[int]) -> dict[int, int]:
    """Bytes of all tensors by address, without the known ones."""
    tensors = [item for item in gc.get_objects() if issubclass(type(item), Tensor)]
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return {address: size for address, size in found.items() if address not in known}


def held(model: nn.Module, step: Callable[[], object], loss: Watched) -> int:
    """Bytes that an optimizer holds in its second and third step."""
    others = set(storages(set()))  # models and optimizers of other rows
    own = {param.untyped_storage().data_ptr() for param in model.parameters()}
    seen: dict[nn.Parameter, int] = {}  # gradients, also while an optimizer puts them aside

    def note(param: Tensor) -> None:
        if isinstance(param, nn.Parameter) and param.grad is not None:
            seen[param] = param.grad.untyped_storage().data_ptr()

    handles = [param.register_post_accumulate_grad_hook(note) for param in model.parameters()]
    step()
    loss.watch(lambda: others | own | set(seen.values()))
    step()
    step()
    loss.look()
    loss.watch(None)
    for handle in handles:
        handle.remove()
    return loss.held
