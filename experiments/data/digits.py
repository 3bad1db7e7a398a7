"""Handwritten digits of scikit-learn: 1,797 grey images of 8x8 in ten classes; no download needed.

Split once and for all, stratified by class with seed 0: 1,257 training, 270 validation, 270 test images.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from experiments.data.dataset import Dataset
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Pixels

HELD_OUT = 270


def load() -> Splits:
    """The three splits; pixels from 0 to 16 as uint8."""
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    rest, test = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=0, stratify=labels)
    train, validation = train_test_split(rest, test_size=HELD_OUT, random_state=0, stratify=labels[rest])
    inputs = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels).long()
    parts = map(torch.from_numpy, (train, validation, test))
    return Splits(*(Split(inputs[part], targets[part]) for part in parts))


DATASETS = {
    "digits": Dataset(
        "scikit-learn digits",
        "classes",
        (1, 8, 8),
        10,
        (1_257, 270, 270),
        # Mean and deviation of the training pixels; crops by one pixel, since the images are small.
        Pixels(mean=(0.3055,), deviation=(0.3763,), white=16, padding=1),
        load,
        lambda: "part of scikit-learn",
    )
}
