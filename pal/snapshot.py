"""Snapshots of modules and tensors, and their restoration."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import compress
from operator import attrgetter, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pal import kernels
from pal.reach import Kind, Reached, kind_of
from pal.sharding import local

PLAIN = (bool, int, float, complex, str, Tensor, list, tuple, dict, set, frozenset, deque, Enum, type(None))
"""Attributes of these types may be state that a forward pass replaces, and are restored, as are those of classes of
the user's own and of NumPy; others, such as modules and functions, are left alone."""

_MISSING = object()

mode_of = attrgetter("training")


class Copied(NamedTuple):
    """Tensors by value, kept as one so that no interrupt leaves one list without its counterpart.

    Attributes:
        ids: of the tensors given, of which the following may be views.
        tensors: where to write the values.
        values: copies.
    """

    ids: list[int]
    tensors: list[Tensor]
    values: list[Tensor]


class Snapshot:
    """The current state of everything that a forward pass may change.

    Buffers are copied, so that any write to them can be undone, be it through `.data`, native code or a resize.
    Attributes (train or eval mode, counters, hidden states) are saved by reference, lists and dictionaries by their
    elements.

    Args:
        reached: the modules and containers to save.
        tensors: other tensors to copy, such as frozen weights and tensors held by the closure.
        restore_if_changed: those of them that `restore` writes to only if they have changed.
        weights: the weights that the optimizer moves. Tensors that share their memory are not saved.
    """

    def __init__(
        self,
        reached: Reached,
        tensors: Sequence[Tensor] = (),
        restore_if_changed: Sequence[Tensor] = (),
        weights: Iterable[Tensor] = (),
    ) -> None:
        self._restore_if_changed = set(map(id, restore_if_changed))
        self._modules = list(reached.modules)
        self._modes = list(map(mode_of, reached.modules))
        self._attributes = [(module.__dict__, module.__dict__.copy()) for module in reached.stateful]
        self._containers = [(container, container.copy()) for container in reached.containers]
        self._slots = [(slot, dict(slot.items())) for slot in reached.buffers]
        self._noted = [
            (tensor, tensor._version) for tensor in restore_if_changed if not tensor.is_inference()
        ]
        self._copied = Copied([], [], [])
        if self._slots or tensors:
            buffers = [buffer for _, slot in self._slots for buffer in slot.values() if buffer is not None]
            moving = storages(weights)
            kept = {
                key: each
                for key, each in writable([*buffers, *tensors]).items()
                if storage(each) not in moving
            }
            self._copied = Copied(list(kept), list(kept.values()), copies(list(kept.values())))

    def discard(self, modules: Iterable[nn.Module]) -> None:
        """Drop the state of these modules from the snapshot, but not that of their submodules."""
        own = [module.__dict__ for module in modules]
        self._modes = [
            module.training if any(module.__dict__ is each for each in own) else mode
            for module, mode in zip(self._modules, self._modes, strict=True)
        ]
        slots = [attributes["_buffers"] for attributes in own]
        out = {id(buffer) for slot in slots for buffer in slot.values()}
        self._attributes = [pair for pair in self._attributes if not any(pair[0] is each for each in own)]
        self._slots = [pair for pair in self._slots if not any(pair[0] is each for each in slots)]
        self._keep([key not in out for key in self._copied.ids])

    def _keep(self, which: Sequence[bool]) -> None:
        """Keep some of the tensors."""
        ids, tensors, values = self._copied
        self._copied = Copied(
            list(compress(ids, which)), list(compress(tensors, which)), list(compress(values, which))
        )

    def forget(self, weights: Iterable[Tensor]) -> None:
        """Drop the tensors that share memory with these weights."""
        moving = storages(weights)
        self._keep([storage(each) not in moving for each in self._copied.tensors])

    def restore(self) -> None:
        """Restore the saved state."""
        if list(map(mode_of, self._modules)) != self._modes:
            for module, training in zip(self._modules, self._modes, strict=True):
                module.training = training
        for live, saved in self._attributes:
            if len(live) != len(saved) or not all(map(is_, live.values(), saved.values())):
                restore_attributes(live, saved)
        for live, saved in self._containers:
            restore_elements(live, saved)
        for slot, saved in self._slots:
            if len(slot) != len(saved) or not all(map(is_, slot.values(), saved.values())):
                slot.clear()
                slot.update(saved)
        _, tensors, values = self._copied
        if tensors:
            for tensor, value in zip(tensors, values, strict=True):
                if tensor.shape != value.shape:
                    tensor.resize_(value.shape)
            if self._restore_if_changed:
                self._restore_changed()
            else:
                kernels.copy_(tensors, values)

    def _restore_changed(self) -> None:
        for key, tensor, value in zip(*self._copied, strict=True):
            if key not in self._restore_if_changed or not same(tensor, value):
                tensor.copy_(value)

    def changed(self, tensors: Sequence[Tensor]) -> bool:
        """Whether any of these tensors was saved, and written to or changed since. Waits for the device."""
        wanted, own = set(map(id, tensors)), set(self._copied.ids)
        if any(tensor._version != at and id(tensor) in wanted & own for tensor, at in self._noted):
            return True
        saved = zip(*self._copied, strict=True)
        return any(key in wanted and not same(tensor, value) for key, tensor, value in saved)


def restore_attributes(live: dict[str, Any], saved: dict[str, Any]) -> None:
    """Restore attributes of the `PLAIN` types, and delete those that were added since."""
    for name in {**live, **saved}:
        now, before = live.get(name, _MISSING), saved.get(name, _MISSING)
        if now is before or not (is_state(now) and is_state(before)):
            continue
        if before is _MISSING:
            del live[name]
        else:
            live[name] = before


def is_state(value: Any) -> bool:
    """Whether an attribute may be state that a forward pass replaces."""
    if value is _MISSING or isinstance(value, PLAIN) or type(value).__module__ == "numpy":
        return True
    return kind_of(type(value)) in (Kind.OTHER, Kind.GENERATOR) and not callable(value)


def restore_elements(live: Any, saved: Any) -> None:
    """Restore the elements of a list, set, deque or dictionary."""
    if len(live) == len(saved) and all(map(is_, live, saved)) and not isinstance(live, dict):
        return
    live.clear()
    if isinstance(live, list | deque):
        live.extend(saved)
    else:
        live.update(saved)


def writable(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """The tensors that can be copied and written back, by id."""
    return {
        id(tensor): in_memory(local(tensor.data if tensor.requires_grad else tensor))
        for tensor in tensors
        if is_plain(tensor) and not (is_lazy(tensor) or tensor.is_inference() or is_expanded(tensor))
    }


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is strided: neither sparse nor nested nor quantized, and has values."""
    return tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_quantized or tensor.is_meta)


def in_memory(tensor: Tensor) -> Tensor:
    """A view of the tensor as it is in memory, without lazy conjugation and negation."""
    if tensor.is_conj():
        tensor = tensor.conj()
    return tensor._neg_view() if tensor.is_neg() else tensor


def same(tensor: Tensor, value: Tensor) -> bool:
    """Whether a tensor has these shape and values; NaN equals NaN."""
    if tensor.shape != value.shape:
        return False
    if tensor.is_complex():
        tensor, value = torch.view_as_real(tensor), torch.view_as_real(value)
    return torch.equal(tensor, value) or torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True)


def storage(tensor: Tensor) -> int:
    """Address of the memory of a tensor."""
    return tensor.untyped_storage().data_ptr()


def storages(weights: Iterable[Tensor]) -> set[int]:
    """Addresses of the memory of trained weights."""
    return {storage(local(each)) for each in weights if each.requires_grad and not is_lazy(each)}


def is_expanded(tensor: Tensor) -> bool:
    """Whether several elements share memory, as after `expand`."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies of tensors, with as few kernels as possible."""
    if not tensors:
        return []
    values = [torch.empty_like(tensor) for tensor in tensors]
    kernels.copy_(values, tensors)
    return values
