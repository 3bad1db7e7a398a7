"""MNIST: greyscale images of 28x28 in ten classes (LeCun, Cortes and Burges), 55,000, 5,000 and 10,000 of them.

Normalised with the mean .1307 and standard deviation .3081 of the training pixels; the published code uses raw
pixels from 0 to 255.
"""

import gzip
import math
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.common.errors import UserError
from experiments.data import packs
from experiments.data.cifar import load_images
from experiments.data.dataset import Dataset
from experiments.data.sources import Arrays, Source, files
from experiments.data.store import Store
from experiments.data.transforms import Pixels

ADDRESSES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def decode_idx(paths: Sequence[Path]) -> Arrays:
    """Decode the four gzipped idx files: training images and labels, test images and labels."""
    images, labels, test_images, test_labels = map(read_idx, paths)
    return {
        "train_images": images[:, None],
        "train_labels": labels.astype(np.int64),
        "test_images": test_images[:, None],
        "test_labels": test_labels.astype(np.int64),
    }


def read_idx(path: Path) -> np.ndarray:
    """Decode an idx file of bytes: 0, 0, 8, number of dimensions, the dimensions (big-endian), the values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise UserError(f"{path} is not an idx file of bytes")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * content[3])
    if len(values) != math.prod(shape):
        raise UserError(f"{path} holds {len(values):,} values instead of {math.prod(shape):,}")
    return values.reshape(shape)


IDX = """\
train-images-idx3-ubyte.gz 9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz 28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz 1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz 4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
"""
PACKS = """\
mnist_train.npz 9013374 e310f90fda27f1c379cc9b4d2cad68e00c7bb03c25596dbe1fc3555e2d7b0b78
mnist_test.npz 1496644 fda6f15c03e1e269e89bdc7e441d4431eebb1051a2e8d5612572a96beaffe106
"""
STORE = Store(
    "mnist",
    "MNIST",
    (
        Source("official idx files", files(IDX, *ADDRESSES), decode_idx),
        Source("data packs mnist_*.npz: bit-exact", files(PACKS), packs.decode),
    ),
)

DATASETS = {
    "mnist": Dataset(
        STORE.title,
        "classes",
        (1, 28, 28),
        10,
        (55_000, 5_000, 10_000),
        Pixels(mean=(0.1307,), deviation=(0.3081,)),
        partial(load_images, STORE, validation=5_000),
        STORE.source,
        STORE,
    )
}
