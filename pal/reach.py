"""What a closure can reach: the modules, tensors and random generators that its forward pass may read or write.

A closure enters a model by many doors: `model(x)`, `model.loss(batch)`, `model.forward`, a scripted or exported copy,
`functional_call` with tensors from a dictionary. So nobody waits at the doors. As for pickling by value, a function is
followed to the variables that it names, and these to what they hold. Modules that only turn up deep inside of other
objects are seen when they run, see `pal.closure`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast
from weakref import CallableProxyType

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

LIMIT = 300
"""Objects looked at in one search: enough for what people write, a moment for what frameworks hand over."""

NUMPY_GENERATORS = {("numpy.random._generator", "Generator"), ("numpy.random.mtrand", "RandomState")}

LIBRARIES = frozenset(sys.stdlib_module_names) | {
    "torch",
    "numpy",
    "torchvision",
    "scipy",
    "pandas",
    "matplotlib",
}
"""Their functions and objects lead nowhere; modules, tensors and generators of theirs are met on the way."""

CONTAINERS = (list, set, deque, dict)


class Sort(Enum):
    """What to do with an object that was found."""

    DULL = auto()
    MODULE = auto()
    TENSOR = auto()
    GENERATOR = auto()
    FUNCTION = auto()
    OTHER = auto()


@lru_cache(4096)
def sort(kind: type) -> Sort:
    """The sort of a type of object."""
    if issubclass(kind, nn.Module | CallableProxyType):
        return Sort.MODULE
    if issubclass(kind, Tensor):
        return Sort.TENSOR
    if (
        issubclass(kind, torch.Generator | random.Random)
        or (kind.__module__, kind.__name__) in NUMPY_GENERATORS
    ):
        return Sort.GENERATOR
    if issubclass(kind, FunctionType):
        return Sort.FUNCTION
    if issubclass(kind, MethodType | partial | dict | list | tuple | set | frozenset | deque):
        return Sort.OTHER
    library = is_library(kind.__module__) or issubclass(kind, torch.optim.Optimizer)
    return Sort.DULL if library else Sort.OTHER


@dataclass
class Reached:
    """What was found.

    Attributes:
        modules: modules with everything inside them, each once.
        stateful: those whose plain attributes may be state: not torch's own layers, which have none.
        parallel: those that are DistributedDataParallel.
        sharded: those whose weights FSDP2 deals out.
        frozen: parameters of modules that need no gradient.
        tensors: tensors that the closure holds itself, and plain attributes of modules.
        containers: lists, sets, dictionaries that are plain attributes of modules.
        generators: random generators that are not global.
    """

    modules: list[nn.Module] = field(default_factory=list)
    stateful: list[nn.Module] = field(default_factory=list)
    parallel: list[DistributedDataParallel] = field(default_factory=list)
    sharded: list[Any] = field(default_factory=list)
    frozen: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)

    def parts(self) -> tuple[list[Any], ...]:
        """All the lists."""
        return tuple(self.__dict__.values())

    def extend(self, other: "Reached") -> None:
        """Take in what else was found."""
        for mine, more in zip(self.parts(), other.parts(), strict=True):
            mine += more

    def without(self, known: "Reached") -> "Reached":
        """What of this is not known yet."""
        pairs = zip(self.parts(), known.parts(), strict=True)
        return Reached(
            *([each for each in new if not any(each is other for other in old)] for new, old in pairs)
        )


def reach(closure: Callable[[], Any], others: Iterable[nn.Module] = ()) -> Reached:
    """Look for what a closure can reach; `others` are modules known to belong to it."""
    found = Reached()
    pending: list[Any] = [closure]
    roots = list(others)
    seen: set[int] = set()
    while pending and len(seen) < LIMIT:
        thing = pending.pop()
        kind = sort(type(thing))
        if kind is Sort.DULL or id(thing) in seen:
            continue
        seen.add(id(thing))
        if kind is Sort.MODULE:
            if isinstance(thing, nn.Module):  # and not another proxy
                roots.append(thing)
        elif kind is Sort.TENSOR:
            found.tensors.append(thing)
        elif kind is Sort.FUNCTION:
            pending += variables(thing)
        elif kind is Sort.GENERATOR:
            found.generators.append(thing)
        else:
            pending += inside(thing)
    walk(roots, found)
    return found


def inside(thing: Any) -> Iterable[Any]:
    """What an object holds."""
    if isinstance(thing, MethodType):
        return thing.__self__, thing.__func__
    if isinstance(thing, partial):
        return thing.func, *thing.args, *thing.keywords.values()
    if isinstance(thing, dict):
        return thing.values() if len(thing) <= LIMIT else ()
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return thing if len(thing) <= LIMIT else ()
    call = getattr(type(thing), "__call__", None)  # noqa: B004 - its function is looked into, not called
    held = [
        *class_generators(type(thing)),
        *getattr(thing, "__dict__", {}).values(),
        *(getattr(thing, name, None) for name in slots(type(thing))),
    ]
    return [*held, call] if isinstance(call, FunctionType) else held


def variables(function: FunctionType) -> list[Any]:
    """Values of the variables that a function names, from around it, from its module, and its defaults."""
    if is_library(function.__module__):
        return []
    values: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    around, mentioned = function.__globals__, names(function.__code__)
    for name in mentioned:
        value = around.get(name)
        if isinstance(value, ModuleType):
            if not is_library(value.__name__):
                values += [value.__dict__[each] for each in mentioned if each in value.__dict__]
        else:
            values.append(value)
    return values


@lru_cache(1024)
def slots(kind: type) -> tuple[str, ...]:
    """Attributes that a class keeps outside of a dictionary."""
    declared = [each.__dict__.get("__slots__", ()) for each in kind.__mro__]
    return tuple(
        name
        for each in declared
        for name in ((each,) if isinstance(each, str) else each)
        if not name.startswith("__")
    )


@lru_cache(1024)
def names(code: CodeType) -> tuple[str, ...]:
    """Global names and attributes that code mentions, those of functions inside of it included."""
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in names(const)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def walk(roots: Iterable[nn.Module], found: Reached) -> None:
    """Take in modules, with everything inside of them."""
    seen: set[int] = set()
    pending = list(roots)
    while pending:
        module = pending.pop()
        attributes = module.__dict__
        if id(attributes) in seen:  # not the module itself: frameworks hand out proxies
            continue
        seen.add(id(attributes))
        found.modules.append(module)
        children, params = module._modules, module._parameters  # pyright: ignore[reportPrivateUsage]
        if children:
            pending += [child for child in children.values() if child is not None]
        if params:
            found.frozen += [
                param
                for param in params.values()
                if param is not None and not param.requires_grad and not is_lazy(param)
            ]
        if is_stateful(type(module)):
            found.stateful.append(module)
            found.generators += class_generators(type(module))
            look_at_attributes(attributes, found)
        elif isinstance(module, DistributedDataParallel):
            found.parallel.append(module)
        elif hasattr(module, "reshard"):
            found.sharded.append(module)


def look_at_attributes(attributes: dict[str, Any], found: Reached) -> None:
    """Take in what a forward pass may change in place."""
    for name, value in attributes.items():
        kind = sort(type(value))
        if kind is Sort.GENERATOR:
            found.generators.append(value)
        elif name[0] == "_":  # of the machinery of modules
            continue
        elif kind is Sort.TENSOR:
            found.tensors.append(value)
        elif kind is Sort.OTHER and isinstance(value, CONTAINERS) and len(cast(list[Any], value)) <= LIMIT:
            found.containers.append(value)


@lru_cache(1024)
def class_generators(kind: type) -> tuple[Any, ...]:
    """Random generators that are attributes of a class, shared by its objects."""
    return tuple(
        value
        for each in kind.__mro__
        if not is_library(each.__module__)
        for value in each.__dict__.values()
        if sort(type(value)) is Sort.GENERATOR
    )


@lru_cache(1024)
def is_stateful(kind: type[nn.Module]) -> bool:
    """Whether plain attributes of a type of module may be state of a forward pass.

    Those of torch's own layers are not; those of its distributed wrappers and of scripted modules are not for us.
    """
    return not kind.__module__.startswith(("torch.nn.", "torch.jit.", "torch.distributed."))


def is_library(name: str | None) -> bool:
    """Whether a module belongs to a library that leads nowhere."""
    return name is not None and name.partition(".")[0] in LIBRARIES
