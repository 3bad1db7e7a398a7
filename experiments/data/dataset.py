"""What the rest of the project needs to know about a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from experiments.common.errors import UserError
from experiments.common.registry import load
from experiments.data.integrity import splits_sha256
from experiments.data.registry import DATASETS
from experiments.data.splits import Splits
from experiments.data.transforms import Transform

if TYPE_CHECKING:
    from experiments.data.store import Store

Task = Literal["classes", "characters", "binary", "values"]


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Attributes:
        title: Name for messages.
        task: What is predicted: one of several classes, the next character, a binary label, real values, or targets
            of another kind, by the name of their objective (`problems.objectives`).
        shape: Shape of one example as the network sees it.
        outputs: Number of classes, characters or values per example.
        sizes: Numbers of training, validation and test examples.
        transform: Turns raw examples into network input.
        load: Returns the splits on the CPU; raises UserError if the data are missing or damaged.
        source: Returns where the data of `load` came from.
        store: Where its decoded arrays are kept; None if nothing has to be fetched and decoded.
        holds_out: Whether validation examples are held out of the training examples; if not, the test examples
            are also used for validation.
    """

    title: str
    task: Task | str
    shape: tuple[int, ...]
    outputs: int
    sizes: tuple[int, int, int]
    transform: Transform
    load: Callable[[], Splits]
    source: Callable[[], str]
    store: "Store | None" = None
    holds_out: bool = True


@lru_cache
def get(name: str) -> Dataset:
    """The data set `name`; raises UserError with the nearest names if there is none."""
    entry = DATASETS[name]
    if isinstance(entry, str):
        return load(f"{entry}:DATASETS")[name]
    found = entry() if callable(entry) else entry
    if not isinstance(found, Dataset):
        raise UserError(
            f"DATASETS: {name!r} is {found!r:.60}; it must be a Dataset or a function that returns one"
        )
    return found


def checksum(name: str) -> str | None:
    """SHA-256 of a data set as it is here; None if it is not here."""
    store = get(name).store
    if store is None:
        return _of_splits(name)
    return store.checksum() if store.is_here() else None


@lru_cache
def _of_splits(name: str) -> str | None:
    try:
        return splits_sha256(get(name).load())
    except UserError:  # such as a folder that PAL_DATA_MIRROR does not have
        return None
