"""The questions of the paper, one module each.

A study has `Settings` (its section of a profile), `plan(settings)` (its runs) and `run(config, record)` (one of them).
Studies never import each other; what becomes of their runs is in `tables`.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from experiments.config import RunConfig, Strict
from experiments.errors import UserError, nearest
from experiments.training import Record


class Study(Protocol):
    """What every module of this package provides."""

    Settings: type[Strict]
    plan: Callable[[Any], list[RunConfig]]
    run: Callable[[RunConfig, Record], dict[str, Any]]


def names() -> list[str]:
    """All studies."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def get(name: str) -> Study:
    """The study `name`; raises UserError with the nearest names if there is none."""
    if name not in names():
        raise UserError(f"there is no study {name!r}; {nearest(name, names())}")
    return importlib.import_module(f"experiments.studies.{name}")  # pyright: ignore[reportReturnType]
