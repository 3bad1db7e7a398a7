"""What a closure can reach: the modules, tensors and random generators that its forward pass may read or write.

A closure enters a model by many doors: `model(x)`, `model.loss(batch)`, `model.forward`, a scripted or exported copy,
`functional_call` with tensors from a dictionary. So nobody waits at the doors. As for pickling by value, a function is
followed to the variables that it names, and these to what they hold. Modules that only turn up deep inside of other
objects are seen when they run, see `pal.closure`.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

LIMIT = 300
"""Objects looked at in one search: enough for what people write, a moment for what frameworks hand over."""

LIBRARIES = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "torchvision", "scipy", "pandas", "matplotlib"}
"""Their functions and objects lead nowhere; modules, tensors and generators of theirs are met on the way."""

DULL = frozenset({int, float, complex, bool, str, bytes, type(None), type, BuiltinFunctionType, torch.dtype, torch.device, torch.Size})
CONTAINERS = frozenset({list, set, deque, dict})


@dataclass
class Reached:
    """What was found.

    Attributes:
        modules: modules with everything inside them, each once.
        tensors: tensors that the closure holds itself, and plain attributes of modules.
        containers: lists, sets, dictionaries that are plain attributes of modules.
        generators: random generators that are not global.
    """

    modules: list[nn.Module] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)

    def parts(self) -> tuple[list[Any], ...]:
        """The four lists."""
        return self.modules, self.tensors, self.containers, self.generators

    def extend(self, other: "Reached") -> None:
        """Take in what else was found."""
        for mine, more in zip(self.parts(), other.parts(), strict=True):
            mine += more


def reach(closure: Callable[[], Any], others: Iterable[nn.Module] = ()) -> Reached:
    """Look for what a closure can reach; `others` are modules known to belong to it."""
    found = Reached()
    pending: list[Any] = [closure]
    roots = list(others)
    seen: set[int] = set()
    while pending and len(seen) < LIMIT:
        thing = pending.pop()
        kind = type(thing)
        if kind in DULL or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            roots.append(thing)
        elif isinstance(thing, Tensor):
            found.tensors.append(thing)
        elif isinstance(thing, torch.optim.Optimizer):
            continue
        elif kind in generator_kinds():
            found.generators.append(thing)
        else:
            pending += inside(thing)
    walk(roots, found)
    return found


def inside(thing: Any) -> Iterable[Any]:
    """What an object that is none of these holds."""
    if isinstance(thing, FunctionType):
        return () if is_library(thing.__module__) else variables(thing)
    if isinstance(thing, MethodType):
        return thing.__self__, thing.__func__
    if isinstance(thing, partial):
        return thing.func, *thing.args, *thing.keywords.values()
    if isinstance(thing, dict):
        return thing.values() if len(thing) <= LIMIT else ()
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return thing if len(thing) <= LIMIT else ()
    if isinstance(thing, ModuleType) or is_library(type(thing).__module__):
        return ()
    call = getattr(type(thing), "__call__", None)
    held = list(getattr(thing, "__dict__", {}).values())
    return [*held, call] if isinstance(call, FunctionType) else held


def variables(function: FunctionType) -> list[Any]:
    """Values of the variables that a function names, from around it, from its module, and its defaults."""
    values = list(function.__defaults__ or ())
    values += (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    around = function.__globals__
    for name in names(function.__code__):
        if name in around:
            value = around[name]
            if isinstance(value, ModuleType):
                values += [value.__dict__[each] for each in names(function.__code__) if each in value.__dict__]
            else:
                values.append(value)
    return values


@lru_cache(1024)
def names(code: CodeType) -> tuple[str, ...]:
    """Global names and attributes that code mentions, that of functions inside of it included."""
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in names(const)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def walk(roots: Iterable[nn.Module], found: Reached) -> None:
    """Take in modules, with everything inside of them."""
    seen: set[int] = set()
    pending = list(roots)
    special = attribute_kinds()
    while pending:
        module = pending.pop()
        if id(module.__dict__) in seen:  # not the module itself: frameworks hand out proxies
            continue
        seen.add(id(module.__dict__))
        found.modules.append(module)
        pending += [child for child in module._modules.values() if child is not None]  # pyright: ignore[reportPrivateUsage]
        for name, value in module.__dict__.items():
            if type(value) in special and name[0] != "_":
                if isinstance(value, Tensor):
                    found.tensors.append(value)
                elif type(value) in CONTAINERS:
                    found.containers.append(value)
                else:
                    found.generators.append(value)


def is_library(name: str | None) -> bool:
    """Whether a module belongs to a library that leads nowhere."""
    return name is not None and name.partition(".")[0] in LIBRARIES


def generator_kinds() -> frozenset[type]:
    """Types of random generators, numpy's where it is imported."""
    return _kinds("numpy.random" in sys.modules)[0]


def attribute_kinds() -> frozenset[type]:
    """Types of plain attributes of modules that a forward pass may change in place."""
    return _kinds("numpy.random" in sys.modules)[1]


@lru_cache(2)
def _kinds(numpy: bool) -> tuple[frozenset[type], frozenset[type]]:
    generators: set[type] = {torch.Generator, random.Random}
    if numpy:
        module: Any = sys.modules["numpy.random"]
        generators |= {module.Generator, module.RandomState}
    return frozenset(generators), frozenset({Tensor, *CONTAINERS, *generators})
