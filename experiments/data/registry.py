"""Names of the data sets; each module is imported when one of its sets is asked for."""

import importlib
from functools import lru_cache

from experiments.data.dataset import Dataset
from experiments.errors import UserError, nearest

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
"""Module of `experiments.data` that holds each data set in its `DATASETS`."""


def names() -> list[str]:
    """All data sets."""
    return list(MODULES)


@lru_cache
def get(name: str) -> Dataset:
    """The data set `name`; raises UserError with the nearest names if there is none."""
    if name not in MODULES:
        raise UserError(f"there is no data set {name!r}; {nearest(name, MODULES)}")
    return importlib.import_module(f"experiments.data.{MODULES[name]}").DATASETS[name]
