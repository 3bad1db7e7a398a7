"""State that an optimizer keeps in attributes of its own, of which torch's `state_dict` knows nothing.

Most published optimizers are used without checkpoints, and many keep a counter, a running mean or a generator in an
attribute. Whatever a checkpoint can hold is saved here: numbers, texts, tensors, generators, objects with a
`state_dict` or attributes of their own, and containers of these, also by parameter. `checks` finds out whether anything
else is missing.
"""

import inspect
from collections import deque
from collections.abc import Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import UserError
from pal.line import LineRecord

OF_PAL = frozenset({"_attempts", "_batch", "_ranges", "_runtime", "_seen"})
"""Attributes of PAL and of the base classes of the baselines, which restore them or start without them."""

CONTAINERS = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}

CONSTANT = (type, ModuleType, partial)

SIMPLE = (bool, int, float, str, bytes, type(None))


class Unsaved(TypeError):
    """A checkpoint cannot hold this value."""


def saved(optimizer: Any) -> dict[str, Any]:
    """The attributes that a checkpoint can hold, by name, for `restore`."""
    params = _params(optimizer)
    found = {}
    for name, value in _own(optimizer).items():
        try:
            found[name] = _encoded(value, params)
        except (Unsaved, RecursionError):
            continue
    return found


def unsaved(optimizer: Any) -> list[str]:
    """The names of all other attributes, such as functions and files."""
    return sorted(set(_own(optimizer)) - set(saved(optimizer)))


def restore(optimizer: Any, attributes: Mapping[str, Any]) -> None:
    """Set the attributes to what `saved` returned; objects are updated in place.

    Raises:
        UserError: For an object that a new optimizer does not have, so that there is nothing to update.
    """
    params = _params(optimizer)
    for name, value in attributes.items():
        try:
            _restore_one(optimizer, name, value, params)
        except AttributeError:
            raise UserError(
                f"the attribute {name!r} of the optimizer {type(optimizer).__name__} cannot be restored from a "
                "checkpoint: it is an object that exists only after some steps; make it in __init__, or keep its "
                "tensors in self.state"
            ) from None


def _restore_one(owner: Any, name: str, value: Any, params: list[Tensor]) -> None:
    present = getattr(owner, name, None)
    restored = _decoded(value, present, params)
    if restored is not present:
        setattr(owner, name, restored)


@cache
def of_torch() -> frozenset[str]:
    """Attributes of every optimizer of torch; making one imports its compiler, which takes seconds."""
    return frozenset(vars(torch.optim.SGD([torch.zeros(1)])))


def _own(optimizer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(optimizer).items() if name not in of_torch() | OF_PAL}


def _params(optimizer: Any) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def _encoded(value: Any, params: list[Tensor]) -> Any:
    """A value as lists of its kind and its content; parameters are named by their place."""
    if type(value) in SIMPLE:
        return ["as it is", value]
    if isinstance(value, Tensor):
        place = next((place for place, param in enumerate(params) if param is value), None)
        return ["tensor", value.detach(), value.is_cpu] if place is None else ["parameter", place]
    if isinstance(value, LineRecord):
        return ["line", {name: _encoded(each, params) for name, each in vars(value).items()}]
    if isinstance(value, dict):
        return ["pairs", [[_encoded(key, params), _encoded(each, params)] for key, each in value.items()]]
    if type(value) in CONTAINERS.values():
        return [type(value).__name__, [_encoded(each, params) for each in value]]
    if isinstance(value, torch.Generator):
        return ["generator", value.get_state()]
    if isinstance(value, np.random.Generator):
        return ["bits", _encoded(value.bit_generator.state, params)]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return ["array", torch.from_numpy(np.array(value, ndmin=1)), np.ndim(value)]
    state_dict = getattr(value, "state_dict", None)
    if state_dict is not None and hasattr(value, "load_state_dict"):
        return ["object", _encoded(state_dict(), params)]
    if hasattr(value, "__dict__") and not (inspect.isroutine(value) or isinstance(value, CONSTANT)):
        return ["attributes", {name: _encoded(each, params) for name, each in vars(value).items()}]
    raise Unsaved(type(value).__name__)


def _decoded(encoded: Any, present: Any, params: list[Tensor]) -> Any:
    """The value; `present`, what stands in its place now, if that could be updated."""
    kind, content, *more = encoded
    if kind == "parameter":
        return params[content]
    if kind == "tensor":
        return content if more[0] else content.to(params[0].device)
    if kind == "pairs":
        pairs = {
            (name := _decoded(key, None, params)): _decoded(each, _item(present, name), params)
            for key, each in content
        }
        return _updated(present, pairs) if isinstance(present, dict) else pairs
    if kind in CONTAINERS:
        places = list(present) if isinstance(present, list | tuple) else []
        places += [None] * (len(content) - len(places))
        values = [_decoded(each, place, params) for each, place in zip(content, places, strict=False)]
        return (
            deque(values, getattr(present, "maxlen", None)) if kind == "deque" else CONTAINERS[kind](values)
        )
    if kind == "line":
        return LineRecord(**{name: _decoded(each, None, params) for name, each in content.items()})
    if kind == "array":
        return content.numpy() if more[0] else content.numpy()[0]
    return content if kind == "as it is" else _set(kind, present, content, params)


def _item(present: Any, name: Any) -> Any:
    return present.get(name) if isinstance(present, dict) else None


def _updated(present: dict[Any, Any], pairs: dict[Any, Any]) -> dict[Any, Any]:
    """The same dictionary, which may be of a class of its own, with other entries."""
    present.clear()
    present.update(pairs)
    return present


def _set(kind: str, present: Any, content: Any, params: list[Tensor]) -> Any:
    """The same object, made by a new optimizer, in its former state; AttributeError if there is none."""
    if kind == "generator":
        present.set_state(content.cpu())
    elif kind == "bits":
        present.bit_generator.state = _decoded(content, None, params)
    elif kind == "object":
        present.load_state_dict(_decoded(content, None, params))
    else:
        for name, value in content.items():
            _restore_one(present, name, value, params)
    return present
