"""Data sets: bytes from a mirror or the official address, checked, decoded once, resident as uint8.

Each module holds the data sets of one family in `DATASETS`; it is imported when one of them is asked for, so
that a run depends on its own data only.
"""

import importlib
from collections.abc import Iterable
from functools import lru_cache

from experiments.data.dataset import Dataset
from experiments.data.loader import Loader
from experiments.data.splits import Split, Splits
from experiments.errors import UserError, nearest

__all__ = ["MODULES", "Dataset", "Loader", "Split", "Splits", "fetch", "get", "names"]

MODULES = {
    "digits": "digits",
    "cifar10": "cifar",
    "cifar10-published": "cifar",
    "cifar100": "cifar",
    "cifar100-published": "cifar",
    "mnist": "mnist",
    "tolstoi": "tolstoi",
    "imagenet": "imagefolder",
    "tinyimagenet": "tinyimagenet",
    "tinyimagenet20": "tinyimagenet",
    "mushrooms": "mushrooms",
    "factorisation": "factorisation",
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
    return importlib.import_module(f"experiments.data.{MODULES[name]}").DATASETS[name]


def fetch(wanted: Iterable[str]) -> None:
    """Find or download, check and decode data sets; raises UserError at the first that cannot be had."""
    for dataset in [get(name) for name in wanted]:
        dataset.load()
