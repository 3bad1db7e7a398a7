"""scikit-learn's handwritten digits: 1,797 greyscale images of 8x8 in ten classes; no download needed.

The split is fixed, stratified by class with seed 0: 1,257 training, 270 validation, 270 test images.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from experiments.common.errors import UserError
from experiments.data.dataset import Dataset
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Pixels

HELD_OUT = 270


def load() -> Splits:
    """The three splits; pixels from 0 to 16 as uint8."""
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    inputs = torch.from_numpy(rows[:, :-1].copy()).view(-1, 1, 8, 8)
    targets = torch.from_numpy(rows[:, -1].copy()).long()
    return Splits(*(Split(inputs[part], targets[part]) for part in _parts(rows[:, -1])))


def _file() -> Path:
    """Read scikit-learn's file: 64 pixels and the digit in each row. (Importing scikit-learn takes seconds.)"""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise UserError(
            "scikit-learn, which has the digits, is not installed; `make` installs the environment"
        )
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _parts(labels: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Indices of the training, validation and test examples."""
    order = np.random.default_rng(0).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    rest, test = _spread(by_class, HELD_OUT)
    train, validation = _spread(rest, HELD_OUT)
    return tuple(torch.from_numpy(np.sort(part)) for part in (train, validation, test))


def _spread(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off `count` rows, spread evenly, so that every class is represented in proportion."""
    taken = np.zeros(len(rows), dtype=bool)
    taken[np.arange(count) * len(rows) // count] = True
    return rows[~taken], rows[taken]


DATASETS = {
    "digits": Dataset(
        "scikit-learn digits",
        "classes",
        (1, 8, 8),
        10,
        (1_257, 270, 270),
        # Mean and standard deviation of the training pixels; crops by one pixel, since the images are small.
        Pixels(mean=(0.3049,), deviation=(0.3760,), white=16, padding=1),
        load,
        lambda: "part of scikit-learn",
    )
}
