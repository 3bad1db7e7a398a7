"""Synthetic matrix factorisation, as in SLS (Vaswani et al. 2019).

x ~ N(0, 1) in 6 dimensions; y = A x with A = diag(linspace(1, 1e-10, 10)) U, where U is uniform on [0, 1) in
10 x 6: the condition number is 1e10. 1,000 examples from seed 0; the first 80 % are for training, the rest for
validation and test.
"""

import numpy as np
import torch

from experiments.data.dataset import Dataset
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Cast

INPUTS, OUTPUTS, EXAMPLES, TRAIN = 6, 10, 1_000, 800


def load() -> Splits:
    """The examples, in double precision."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((EXAMPLES, INPUTS))
    matrix = np.linspace(1, 1e-10, OUTPUTS)[:, None] * random.random((OUTPUTS, INPUTS))
    x, y = torch.from_numpy(inputs), torch.from_numpy(inputs @ matrix.T)
    test = Split(x[TRAIN:], y[TRAIN:])
    return Splits(Split(x[:TRAIN], y[:TRAIN]), test, test)


DATASETS = {
    "factorisation": Dataset(
        "matrix factorisation",
        "values",
        (INPUTS,),
        OUTPUTS,
        (TRAIN, EXAMPLES - TRAIN, EXAMPLES - TRAIN),
        Cast(torch.float32),
        load,
        lambda: "synthetic, seed 0",
        holds_out=False,
    )
}
