"""The modules, tensors and random generators that a closure can reach, which its forward pass may read or write.

A closure can run a model in many ways: `model(x)`, `model.loss(batch)`, `model.forward`, a scripted or exported copy,
`functional_call` with tensors from a dictionary. Intercepting calls would miss some, so the references are searched
instead, as for pickling by value: from a function to the variables that it names, and on to the objects that these
hold. Modules too deep inside other objects are detected when they run, see `pal.closure`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

import random
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache, partial
from types import BuiltinMethodType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple, cast
from weakref import CallableProxyType, ReferenceType, WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

MAX_OBJECTS = 300
"""Maximum number of objects per search: enough for typical closures, and quick for the objects of frameworks."""

MAX_ELEMENTS = 100_000
"""Maximum number of elements of a container of a module that is restored, such as a list that grows."""

NUMPY_GENERATORS = {
    ("numpy.random._generator", "Generator"),
    ("numpy.random.mtrand", "RandomState"),
    ("numpy.random.bit_generator", "BitGenerator"),
}

HOLDERS = {"types.SimpleNamespace", "argparse.Namespace", "collections.UserDict", "collections.UserList"}
"""Classes of the standard library whose attributes are searched, unlike those of others."""

LIBRARIES = frozenset(sys.stdlib_module_names) | {
    "torch",
    "numpy",
    "torchvision",
    "scipy",
    "pandas",
    "matplotlib",
}
"""Libraries into whose functions and objects the search does not go."""

CONTAINERS = (list, set, deque, dict)

SEARCHED = (
    MethodType,
    BuiltinMethodType,
    MappingProxyType,
    ReferenceType,
    partial,
    dict,
    list,
    tuple,
    set,
    frozenset,
    deque,
)
"""Classes whose contents are searched, although they belong to the standard library."""

PLAIN_DICTS = dict, OrderedDict, Counter

MODULE_ATTRIBUTES = frozenset(nn.Module().__dict__) - {"training"}
"""Attributes that every module has; they hold its registered parts, not other state."""

WITHOUT_GENERATORS: WeakSet[type] = WeakSet()
"""Cached module classes whose methods refer to no random generator."""


class Kind(Enum):
    """How the search treats an object."""

    IGNORED = auto()
    MODULE = auto()
    TENSOR = auto()
    GENERATOR = auto()
    FUNCTION = auto()
    CLASS = auto()
    PACKAGE = auto()
    OTHER = auto()


MEMBERS = Kind.GENERATOR, Kind.FUNCTION, Kind.MODULE, Kind.TENSOR


class Traits(NamedTuple):
    """Properties of a class of modules.

    Attributes:
        stateful: whether plain attributes may be state that a forward pass changes.
        parallel: whether it is DistributedDataParallel.
        flat: whether it is FullyShardedDataParallel, of which PAL sees only a part.
        sharded: whether FSDP2 shards its weights.
    """

    stateful: bool
    parallel: bool
    flat: bool
    sharded: bool


@lru_cache(4096)
def kind_of(cls: type) -> Kind:
    """How the search treats objects of a class."""
    if issubclass(cls, nn.Module | CallableProxyType):
        return Kind.MODULE
    if issubclass(cls, Tensor):
        return Kind.TENSOR
    if issubclass(cls, torch.Generator | random.Random) or any(
        (each.__module__, each.__name__) in NUMPY_GENERATORS for each in cls.__mro__
    ):
        return Kind.GENERATOR
    if issubclass(cls, FunctionType):
        return Kind.FUNCTION
    if issubclass(cls, type):
        return Kind.CLASS
    if issubclass(cls, ModuleType):
        return Kind.PACKAGE
    if issubclass(cls, SEARCHED) or f"{cls.__module__}.{cls.__name__}" in HOLDERS:
        return Kind.OTHER
    library = is_library(cls.__module__) or issubclass(cls, torch.optim.Optimizer)
    return Kind.IGNORED if library else Kind.OTHER


@dataclass
class Reached:
    """The result of a search.

    Attributes:
        modules: all modules and their submodules, without duplicates.
        stateful: modules whose plain attributes may be state, which those of torch's own layers are not.
        parallel: modules that are DistributedDataParallel.
        flat: modules that are FullyShardedDataParallel.
        sharded: modules whose weights FSDP2 shards.
        frozen: parameters of modules that require no gradient.
        trained: parameters of modules that require a gradient.
        tensors: tensors held by the closure, or by plain attributes of modules.
        containers: lists, sets, deques and dictionaries held by plain attributes of modules.
        generators: random generators that are not global.
        buffers: the dictionaries in which modules keep their buffers.
    """

    modules: list[nn.Module] = field(default_factory=list)
    stateful: list[nn.Module] = field(default_factory=list)
    parallel: list[DistributedDataParallel] = field(default_factory=list)
    flat: list[Any] = field(default_factory=list)
    sharded: list[Any] = field(default_factory=list)
    frozen: list[Tensor] = field(default_factory=list)
    trained: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    buffers: list[dict[str, Tensor | None]] = field(default_factory=list)

    def extend(self, other: "Reached") -> None:
        """Add the result of another search."""
        for mine, more in zip(vars(self).values(), vars(other).values(), strict=True):
            mine += more

    def without(self, known: "Reached") -> "Reached":
        """The entries that are not in another result."""
        pairs = zip(vars(self).values(), vars(known).values(), strict=True)
        return Reached(*(others(new, set(map(id, old))) for new, old in pairs))


def others(items: list[Any], known: set[int]) -> list[Any]:
    """The items whose ids are not known."""
    return [each for each in items if id(each) not in known]


def reach(closure: Callable[[], Any], others: Iterable[nn.Module] = ()) -> Reached:
    """Find everything that a closure can reach; `others` are modules that belong to it in any case."""
    found, roots = Reached(), list(others)
    for kind, item in follow([closure]):
        if kind is Kind.MODULE:
            roots.append(item)
        elif kind is Kind.TENSOR:
            found.tensors.append(item)
        else:
            found.generators.append(item)
    collect_modules(roots, found)
    return found


def follow(roots: Iterable[Any]) -> Iterator[tuple[Kind, Any]]:
    """Follow references from some objects to modules, tensors and random generators, at any depth; near ones first."""
    pending: deque[tuple[Any, CodeType | None]] = deque(
        (root, None) for root in roots
    )  # and the code that names it
    seen: set[tuple[int, int]] = set()
    while pending and len(seen) < MAX_OBJECTS:
        item, code = pending.popleft()
        kind = kind_of(type(item))
        place = id(item), id(code) if kind is Kind.PACKAGE else 0  # of a package, code names a part
        if kind is Kind.IGNORED or place in seen:
            continue
        seen.add(place)
        if kind is Kind.FUNCTION:
            pending += ((value, item.__code__) for value in variables(item))
        elif kind is Kind.PACKAGE:
            pending += ((value, code) for value in named_in(item, code))
        elif kind is Kind.CLASS:
            pending += ((value, code) for value in members(item))
        elif kind is Kind.OTHER:
            pending += ((value, code) for value in contents(item))
        elif kind is not Kind.MODULE or isinstance(item, nn.Module):  # a weak proxy may be of something else
            yield kind, item


def contents(item: Any) -> Iterable[Any]:
    """The objects to which an object refers."""
    if isinstance(item, MethodType):
        return item.__self__, item.__func__
    if isinstance(item, BuiltinMethodType):  # of interest if it draws, as `random.Random(0).random` does
        return (item.__self__,) if kind_of(type(item.__self__)) is Kind.GENERATOR else ()
    if isinstance(item, ReferenceType):
        return (item(),)
    if isinstance(item, partial):
        return item.func, *item.args, *item.keywords.values()
    if isinstance(item, dict | MappingProxyType):
        return item.values() if len(item) <= MAX_OBJECTS else ()
    if isinstance(item, list | tuple | set | frozenset | deque):
        return item if len(item) <= MAX_OBJECTS else ()
    return [
        type(item),
        *getattr(item, "__dict__", {}).values(),
        *(getattr(item, name, None) for name in slots(type(item))),
    ]


def members(kind: type) -> list[Any]:
    """The methods of a class, as functions, and the random generators that are attributes of it."""
    if kind in WITHOUT_GENERATORS or is_library(kind.__module__):
        return []
    values = [
        getattr(value, "__func__", value)  # of static and class methods
        for each in kind.__mro__
        if not is_library(each.__module__)
        for value in each.__dict__.values()
    ]
    return [value for value in values if kind_of(type(value)) in MEMBERS]


def variables(function: FunctionType) -> list[Any]:
    """Values of the global variables, enclosed variables and defaults that a function refers to."""
    if is_library(function.__module__):
        return []
    values: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # the variable has no value yet
            continue
    around = function.__globals__
    return values + [around.get(name) for name in names(function.__code__)]


def named_in(package: ModuleType, code: CodeType | None) -> list[Any]:
    """The attributes of a Python module that code mentions."""
    if code is None or is_library(package.__name__):
        return []
    return [package.__dict__[name] for name in names(code) if name in package.__dict__]


@lru_cache(1024)
def slots(kind: type) -> tuple[str, ...]:
    """Names of attributes that a class keeps in slots rather than in `__dict__`."""
    declared = [each.__dict__.get("__slots__", ()) for each in kind.__mro__]
    return tuple(
        name
        for each in declared
        for name in ((each,) if isinstance(each, str) else each)
        if not name.startswith("__")
    )


@lru_cache(1024)
def names(code: CodeType) -> tuple[str, ...]:
    """Names of global variables and attributes in code, including those in nested functions."""
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in names(const)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def collect_modules(roots: Iterable[nn.Module], found: Reached) -> None:
    """Add modules, their submodules, and the state and generators that these hold."""
    seen: set[int] = set()
    pending = list(roots)
    held, private = list[Any](), list[Any]()
    while pending:
        module = pending.pop()
        attributes = module.__dict__
        if id(attributes) in seen:  # not id(module): proxies of frameworks share attributes with their module
            continue
        seen.add(id(attributes))
        found.modules.append(module)
        if children := module._modules:
            pending += [child for child in children.values() if child is not None]
        if buffers := module._buffers:
            found.buffers.append(buffers)
        for param in module._parameters.values():
            if param is None:
                continue
            if param.requires_grad:
                found.trained.append(param)
            elif not is_lazy(param):
                found.frozen.append(param)
        traits = traits_of(module.__class__)
        hooked = attributes["_forward_hooks"] or attributes["_forward_pre_hooks"]
        if hooked:
            held += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if traits.stateful or hooked:  # hooks may keep state in attributes of any module
            found.stateful.append(module)
            if not lacks_generators(module.__class__):
                held.append(module.__class__)
            collect_attributes(attributes, found, held, private)
        if traits.parallel:
            found.parallel.append(cast(DistributedDataParallel, module))
        if traits.flat:
            found.flat.append(module)
        if traits.sharded:
            found.sharded.append(module)
        if (held or private) and not pending:
            pending += collect_generators(held, found, found.tensors) + collect_generators(private, found, [])
            held.clear()
            private.clear()


def collect_attributes(
    attributes: dict[str, Any], found: Reached, held: list[Any], private: list[Any]
) -> None:
    """Add tensors and containers that a forward pass may change in place, and to `held` what may refer to more."""
    for name, value in attributes.items():
        kind = kind_of(type(value))
        if kind is Kind.IGNORED or name in MODULE_ATTRIBUTES:
            continue
        if kind is not Kind.TENSOR:
            (private if name[0] == "_" else held).append(value)
        if kind is Kind.TENSOR:
            found.tensors.append(value)
        elif name[0] != "_" and is_restorable(value):  # private: internals of a framework rather than state
            found.containers.append(value)


def collect_generators(roots: list[Any], found: Reached, tensors: list[Tensor]) -> list[nn.Module]:
    """Add the random generators and tensors to which attributes lead, and return the modules to which they lead."""
    modules: list[nn.Module] = []
    for kind, item in follow(roots):
        if kind is Kind.GENERATOR and not any(item is each for each in found.generators):
            found.generators.append(item)
        elif kind is Kind.MODULE:
            modules.append(item)
        elif kind is Kind.TENSOR:
            tensors.append(item)
    return modules


def is_restorable(value: Any) -> bool:
    """Whether a value is a container whose elements can be saved and restored."""
    return (
        isinstance(value, CONTAINERS)
        and len(cast(list[Any], value)) <= MAX_ELEMENTS
        and is_mutable(type(value))
    )


@lru_cache(1024)
def is_mutable(kind: type) -> bool:
    """Whether a container can be emptied and filled again, unlike the outputs of models of transformers."""
    if not issubclass(kind, dict):
        return True
    return all(
        getattr(kind, name) in (getattr(each, name) for each in PLAIN_DICTS) for name in ("clear", "update")
    )


def lacks_generators(kind: type) -> bool:
    """Whether the methods of a class refer to no random generator; cached, since classes rarely change."""
    if kind in WITHOUT_GENERATORS:
        return True
    if any(True for _ in follow([kind])):
        return False
    WITHOUT_GENERATORS.add(kind)
    return True


@lru_cache(1024)
def traits_of(kind: type[nn.Module]) -> Traits:
    """Properties of a class of modules.

    Plain attributes of torch's own layers are not state, and those of its distributed wrappers and of scripted modules
    are internals that must not be restored.
    """
    stateless = "torch.nn.", "torch.jit.", "torch.distributed."
    modules = [each for each in kind.__mro__ if issubclass(each, nn.Module)]
    return Traits(
        stateful=not all(each.__module__.startswith(stateless) for each in modules),
        parallel=issubclass(kind, DistributedDataParallel),
        flat=any(each.__name__ == "FullyShardedDataParallel" for each in modules),
        sharded=hasattr(kind, "reshard"),
    )


def is_library(name: str | None) -> bool:
    """Whether a module, given by its name, belongs to a library that is not searched."""
    return name is not None and name.partition(".")[0] in LIBRARIES
