"""Registries: one dictionary for each kind of thing that has a name."""

import importlib
from typing import Any, TypeVar

from experiments.common.errors import UserError, nearest

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things by name; `registry[name]` raises UserError with the nearest names if there is none.

    Args:
        kind: What the things are called in messages.
        things: By name.
    """

    def __init__(self, kind: str, things: dict[str, T]) -> None:
        super().__init__(things)
        self.kind = kind

    def __missing__(self, name: str) -> T:
        raise UserError(f"there is no {self.kind} {name!r}; {nearest(name, self)}")


def load(target: str) -> Any:
    """What "module:attribute" names; the module is imported now, so that a run depends on its own choice only."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
