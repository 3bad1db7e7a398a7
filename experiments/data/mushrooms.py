"""UCI mushrooms with radial basis functions, as in the kernel experiments of SLS (Vaswani et al. 2019).

Each of 8,124 mushrooms has 21 nominal attributes (stalk-root, which has missing values, is left out, as in
LIBSVM's version). One-hot encoded, two mushrooms that differ in k attributes are at squared distance 2 k; the
feature of mushroom x for training mushroom z is exp(-||x - z||^2 / (2 width^2)) = exp(-k / width^2), with
width 0.5. The counts k are stored as uint8. The first 80 % are for training, the rest for validation and test:
SLS has no third part, and does not shuffle.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.data.dataset import Dataset
from experiments.data.sources import Arrays, Source, files
from experiments.data.splits import Split, Splits
from experiments.data.store import Store
from experiments.data.transforms import Cast

TRAIN = 6_499
STALK_ROOT = 11
"""Column of the attribute that is omitted."""


@dataclass(frozen=True)
class Kernel(Cast):
    """Turns numbers k of differing attributes into exp(-k / width^2)."""

    width: float
    dtype: torch.dtype = torch.float32

    def plain(self, raw: Tensor) -> Tensor:
        """The features of each example, one for each training example."""
        return torch.exp(raw.to(self.dtype) / -(self.width**2))


def decode(paths: Sequence[Path]) -> Arrays:
    """Read rows of letters: the class (e edible, p poisonous), then 22 attributes; the header is optional."""
    with paths[0].open(newline="") as file:
        lines = [line for line in csv.reader(file) if line[0] in ("e", "p")]
    letters = np.array(lines)
    attributes = np.delete(letters[:, 1:], STALK_ROOT - 1, axis=1)
    codes = attributes.view(np.uint32).astype(np.uint8)
    return {"attributes": codes, "poisonous": (letters[:, 0] == "p").astype(np.int64)}


def load() -> Splits:
    """Number of attributes that differ from each training mushroom, uint8 [N, 6499], and whether it is poisonous."""
    arrays = {name: torch.from_numpy(array) for name, array in STORE.arrays().items()}
    attributes, poisonous = arrays["attributes"], arrays["poisonous"]
    counts = torch.zeros(len(attributes), TRAIN, dtype=torch.uint8)
    for column in attributes.T:
        counts += column[:, None] != column[:TRAIN]
    test = Split(counts[TRAIN:], poisonous[TRAIN:])
    return Splits(Split(counts[:TRAIN], poisonous[:TRAIN]), test, test)


PACK = "mushrooms.csv 374007 126abef844f76d8484681851a7d02e09e52dc0c6594fc49f1bc7854397c5ebda"
OFFICIAL = "agaricus-lepiota.data 373704 e65d082030501a3ebcbcd7c9f7c71aa9d28fdfff463bf4cf4716a3fe13ac360e"
ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/mushroom/"
STORE = Store(
    "mushrooms",
    "Mushrooms",
    (
        Source("mushrooms.csv: exact", files(PACK), decode),
        Source("official agaricus-lepiota.data", files(OFFICIAL, ADDRESS), decode),
    ),
)

DATASETS = {
    "mushrooms": Dataset(
        STORE.title,
        "binary",
        (TRAIN,),
        1,
        (TRAIN, 1_625, 1_625),
        Kernel(0.5),
        load,
        STORE.source,
        STORE,
        holds_out=False,
    )
}
