"""What a closure can reach: the modules, tensors and random generators that its forward pass may read or write.

A closure enters a model by many doors: `model(x)`, `model.loss(batch)`, `model.forward`, a scripted or exported copy,
`functional_call` with tensors from a dictionary. So nobody waits at the doors. As for pickling by value, a function is
followed to the variables that it names, and these to what they hold. Modules that only turn up deep inside of other
objects are seen when they run, see `pal.closure`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, cast
from weakref import CallableProxyType, WeakSet

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

MACHINERY = frozenset(nn.Module().__dict__) - {"training"}
"""Attributes that every module has."""

BARREN: WeakSet[type] = WeakSet()
"""Classes of modules whose methods were found to lead to no generator."""


class Sort(Enum):
    """What to do with an object that was found."""

    DULL = auto()
    MODULE = auto()
    TENSOR = auto()
    GENERATOR = auto()
    FUNCTION = auto()
    CLASS = auto()
    OTHER = auto()


class Traits(NamedTuple):
    """What a module is, besides something that holds weights and buffers.

    Attributes:
        stateful: its plain attributes may be state of a forward pass.
        parallel: it is DistributedDataParallel.
        sharded: FSDP2 deals its weights out.
    """

    stateful: bool
    parallel: bool
    sharded: bool


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
    if issubclass(kind, type):
        return Sort.CLASS
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
        buffers: where modules hold their buffers.
    """

    modules: list[nn.Module] = field(default_factory=list)
    stateful: list[nn.Module] = field(default_factory=list)
    parallel: list[DistributedDataParallel] = field(default_factory=list)
    sharded: list[Any] = field(default_factory=list)
    frozen: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    buffers: list[dict[str, Tensor | None]] = field(default_factory=list)

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
    found, roots = Reached(), list(others)
    for kind, thing in follow([closure]):
        if kind is Sort.MODULE:
            roots.append(thing)
        elif kind is Sort.TENSOR:
            found.tensors.append(thing)
        else:
            found.generators.append(thing)
    walk(roots, found)
    return found


def follow(things: Iterable[Any]) -> Iterator[tuple[Sort, Any]]:
    """The modules, tensors and random generators that things lead to, however deep."""
    pending = list(things)
    seen: set[int] = set()
    while pending and len(seen) < LIMIT:
        thing = pending.pop()
        kind = sort(type(thing))
        if kind is Sort.DULL or id(thing) in seen:
            continue
        seen.add(id(thing))
        if kind is Sort.FUNCTION:
            pending += variables(thing)
        elif kind is Sort.CLASS:
            pending += members(thing)
        elif kind is Sort.OTHER:
            pending += inside(thing)
        elif kind is not Sort.MODULE or isinstance(thing, nn.Module):  # and not another proxy
            yield kind, thing


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
    return [
        type(thing),
        *getattr(thing, "__dict__", {}).values(),
        *(getattr(thing, name, None) for name in slots(type(thing))),
    ]


def members(kind: type) -> list[Any]:
    """Random generators that a class holds, and the functions of its methods."""
    if kind in BARREN or is_library(kind.__module__):
        return []
    values = [
        getattr(value, "__func__", value)  # of static and class methods
        for each in kind.__mro__
        if not is_library(each.__module__)
        for value in each.__dict__.values()
    ]
    return [value for value in values if sort(type(value)) in (Sort.GENERATOR, Sort.FUNCTION)]


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
    pending, held = list(roots), list[Any]()
    while pending:
        module = pending.pop()
        attributes = module.__dict__
        if id(attributes) in seen:  # not the module itself: frameworks hand out proxies
            continue
        seen.add(id(attributes))
        found.modules.append(module)
        if children := module._modules:
            pending += [child for child in children.values() if child is not None]
        if buffers := module._buffers:
            found.buffers.append(buffers)
        for param in module._parameters.values():
            if param is not None and not param.requires_grad and not is_lazy(param):
                found.frozen.append(param)
        traits = traits_of(module.__class__)
        if traits.stateful:
            found.stateful.append(module)
            if not is_barren(module.__class__):
                held.append(module.__class__)
            look_at_attributes(attributes, found, held)
        if traits.parallel:
            found.parallel.append(cast(DistributedDataParallel, module))
        if traits.sharded:
            found.sharded.append(module)
        if held and not pending:
            pending += look_deeper(held, found)
            held.clear()


def look_at_attributes(attributes: dict[str, Any], found: Reached, held: list[Any]) -> None:
    """Take in what a forward pass may change in place, and add to `held` what may hold more."""
    for name, value in attributes.items():
        kind = sort(type(value))
        if kind is Sort.DULL or name in MACHINERY:
            continue
        if kind is not Sort.TENSOR:
            held.append(value)
        if name[0] == "_":  # state of the machinery
            continue
        if kind is Sort.TENSOR:
            found.tensors.append(value)
        elif isinstance(value, CONTAINERS) and len(cast(list[Any], value)) <= LIMIT:
            found.containers.append(value)


def look_deeper(things: list[Any], found: Reached) -> list[nn.Module]:
    """Take in the random generators that things of modules lead to, and give the modules."""
    modules: list[nn.Module] = []
    for kind, thing in follow(things):
        if kind is Sort.GENERATOR and not any(thing is each for each in found.generators):
            found.generators.append(thing)
        elif kind is Sort.MODULE:
            modules.append(thing)
    return modules


def is_barren(kind: type) -> bool:
    """Whether the methods of a class lead nowhere; it is asked once, since classes hardly ever change."""
    if kind in BARREN:
        return True
    if any(True for _ in follow([kind])):
        return False
    BARREN.add(kind)
    return True


@lru_cache(1024)
def traits_of(kind: type[nn.Module]) -> Traits:
    """What a type of module is.

    Plain attributes of torch's own layers are no state; those of its distributed wrappers and of scripted modules are
    not for us.
    """
    torchs = "torch.nn.", "torch.jit.", "torch.distributed."
    modules = [each for each in kind.__mro__ if issubclass(each, nn.Module)]
    return Traits(
        stateful=not all(each.__module__.startswith(torchs) for each in modules),
        parallel=issubclass(kind, DistributedDataParallel),
        sharded=hasattr(kind, "reshard"),
    )


def is_library(name: str | None) -> bool:
    """Whether a module belongs to a library that leads nowhere."""
    return name is not None and name.partition(".")[0] in LIBRARIES
