"""One seed, split into independent streams, so that all optimizers of a comparison start and train alike."""

from typing import NamedTuple

import numpy as np


class Seeds(NamedTuple):
    """Seeds of everything random in a run.

    Attributes:
        data: Order of the training examples.
        augmentation: Crops and flips.
        initialisation: Initial weights.
        noise: Randomness inside the network, such as dropout.
    """

    data: int
    augmentation: int
    initialisation: int
    noise: int


def split(seed: int) -> Seeds:
    """Split a seed into independent ones (NumPy's SeedSequence), each a number below 2^63."""
    children = np.random.SeedSequence(seed).spawn(len(Seeds._fields))
    return Seeds(*(int(child.generate_state(1, np.uint64)[0] >> 1) for child in children))
