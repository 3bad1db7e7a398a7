"""Registries: one dictionary for each kind of thing that has a name.

A module of somebody's own (see `extensions`) adds to a registry by a variable of the registry's name.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, TypeVar

from experiments.common.errors import UserError, nearest

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things by name; `registry[name]` raises UserError with the nearest names if there is none.

    Args:
        kind: What the things are called in messages.
        things: By name.
        variable: The variable by which extensions add to it.
        accept: Makes a thing of what an extension has; raises TypeError that says what is allowed.
    """

    def __init__(
        self,
        kind: str,
        things: Mapping[str, T],
        variable: str | None = None,
        accept: Callable[[Any], T] = lambda thing: thing,
    ) -> None:
        super().__init__(things)
        self.kind, self._variable, self._accept = kind, variable, accept
        self._package = frozenset(things)
        if variable is not None:
            _registries.append(self)
            self.extend(_modules)

    def __missing__(self, name: str) -> T:
        raise UserError(f"there is no {self.kind} {name!r}; {nearest(name, self)}")

    def extend(self, modules: Iterable[ModuleType]) -> None:
        """Add what modules have; raises UserError for a name of the package and for a thing of the wrong kind."""
        for module in modules:
            for name, thing in own_things(module, self._variable or "").items():
                if name in self._package:
                    raise UserError(
                        f"{module.__file__}: {self._variable} has {name!r}, which is a {self.kind} of the package; "
                        "it needs another name"
                    )
                try:
                    self[name] = self._accept(thing)
                except TypeError as error:
                    raise UserError(f"{module.__file__}: {self._variable}: {name!r} {error}") from None


_registries: list[Registry[Any]] = []
_modules: list[ModuleType] = []


def register(module: ModuleType) -> None:
    """Add what a module has to all registries, also to those that are created later."""
    for registry in _registries:
        registry.extend([module])
    _modules.append(module)


def own_things(module: ModuleType, variable: str) -> dict[str, Any]:
    """What a module adds to the registry of that variable, by name; things in a list have a `name` or `id`."""
    things = getattr(module, variable, {})
    if isinstance(things, list | tuple):
        return {name_of(thing): thing for thing in things}
    if not isinstance(things, dict):
        raise UserError(f"{module.__file__}: {variable} is {things!r:.60}; it must be a dictionary or a list")
    return {str(name): thing for name, thing in things.items()}


def name_of(thing: Any) -> str:
    """The name of a thing in a list."""
    return str(getattr(thing, "name", getattr(thing, "id", thing)))


def instance_of(kind: type[T]) -> Callable[[Any], T]:
    """An `accept` for things of one class."""

    def accept(thing: Any) -> T:
        if not isinstance(thing, kind):
            raise TypeError(f"is {thing!r:.60}; it must be a {kind.__name__}")
        return thing

    return accept


def load(target: Any) -> Any:
    """What "module:attribute" names; the module is imported now, so that a run depends on its own choice only.

    Anything but a string, such as a class, is what it is.
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
