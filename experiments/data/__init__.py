"""Data sets: bytes from a mirror or the official address, checked, decoded once, resident as uint8.

Each data set is a module with a `DATASET`; it is imported when asked for, so that a run
depends on its own only.
"""

import importlib
from functools import lru_cache

from experiments.data.dataset import Dataset
from experiments.data.loader import Loader
from experiments.data.splits import Split, Splits
from experiments.errors import UserError, nearest

__all__ = ["MODULES", "Dataset", "Loader", "Split", "Splits", "get", "names"]

MODULES = {
    "digits": "digits",
}
"""Module of `experiments.data` that holds each data set."""


def names() -> list[str]:
    """All data sets."""
    return list(MODULES)


@lru_cache
def get(name: str) -> Dataset:
    """The data set `name`; raises UserError with the nearest names if there is none."""
    if name not in MODULES:
        raise UserError(f"there is no data set {name!r}; {nearest(name, MODULES)}")
    return importlib.import_module(f"experiments.data.{MODULES[name]}").DATASET
