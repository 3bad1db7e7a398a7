"""What the rest of the project needs to know of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from experiments.common.registry import load
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
        title: Its name in sentences.
        task: What is predicted: one of several classes, the next character, yes or no, or real values.
        shape: Of one example as the network sees it.
        outputs: Classes, vocabulary or values per example.
        sizes: Training, validation and test examples.
        transform: From raw examples to network input.
        load: Gives the splits on the CPU; raises UserError if the data are missing or damaged.
        source: Says where the data that `load` gives came from.
        store: Where its decoded arrays are kept; None if nothing has to be fetched and decoded.
        holds_out: Whether the validation examples are held out of the training examples; if not, the test
            examples validate.
    """

    title: str
    task: Task
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
    return load(f"{DATASETS[name]}:DATASETS")[name]
