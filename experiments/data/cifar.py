"""CIFAR-10 and CIFAR-100: colour images of 32x32 in 10 or 100 classes (Krizhevsky 2009).

45,000 training, 5,000 validation (the last by index, as published) and 10,000 test images. The official
archives are read in their binary version, which contains no pickles. CIFAR-10 is normalised with the constants
of the published code: means .4914 .4822 .4465 and standard deviations .2023 .1994 .2010. CIFAR-100 has its own
constants here; the published code used those of CIFAR-10 and mirrored images with the border repeated, as
`*-published` does. `cifar10-16` has the images of CIFAR-10 at 16x16: the mean of each 2x2 block of pixels.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.data import archives, packs
from experiments.data.dataset import Dataset
from experiments.data.sources import Arrays, Source, files
from experiments.data.splits import Split, Splits, held_out
from experiments.data.store import Store
from experiments.data.transforms import Pixels

SHAPE = (3, 32, 32)
SIZES = (45_000, 5_000, 10_000)
POOLED_AT_A_TIME = 5_000
ADDRESSES = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


def decode_binary(paths: Sequence[Path], train: Sequence[str], test: str, label_bytes: int) -> Arrays:
    """Decode records of `label_bytes` labels (the last is the fine one) and 3,072 pixels, channel by channel."""
    wanted = [*train, test]
    found = {}
    for name, content in archives.read(paths[0], lambda name: Path(name).name in wanted):
        records = np.frombuffer(content, dtype=np.uint8).reshape(-1, label_bytes + 3072)
        found[Path(name).name] = records
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserError(f"the archive {paths[0]} has no member {missing[0]}")
    arrays = {}
    for split, names in (("train", train), ("test", [test])):
        records = np.concatenate([found[name] for name in names])
        arrays[f"{split}_images"] = records[:, label_bytes:].reshape(-1, *SHAPE)
        arrays[f"{split}_labels"] = records[:, label_bytes - 1].astype(np.int64)
    return arrays


def load_images(store: Store, validation: int) -> Splits:
    """The splits of a store with training and test images and their labels."""
    arrays = {name: torch.from_numpy(array) for name, array in store.arrays().items()}
    train = Split(arrays["train_images"], arrays["train_labels"])
    return held_out(train, Split(arrays["test_images"], arrays["test_labels"]), validation)


def load_pooled(store: Store, validation: int) -> Splits:
    """The same splits with images of half the height and width, as float32: means of 2x2 pixels, from 0 to 255."""
    splits = load_images(store, validation)
    return Splits(*map(_pooled, (splits.train, splits.validation, splits.test)))


def _pooled(split: Split) -> Split:
    parts = cast("Tensor", split.inputs).split(POOLED_AT_A_TIME)
    return Split(torch.cat([functional.avg_pool2d(part.float(), 2) for part in parts]), split.targets)


ARCHIVES10 = """\
cifar-10-binary.tar.gz 170052171 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
"""
PACKS10 = """\
cifar10_train.npz 82966454 31dd94467922d5f8d4d70f97af36229545d64a70a8ff0fbd532215465b6dde0e
cifar10_test.npz 16604424 deedfcdb364e1b1c2615bad2cdf06c291d8877ab6d359a2e241e8c8f80d879a9
"""
ARCHIVES100 = """\
cifar-100-binary.tar.gz 168513733 58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec
"""
PACKS100 = """\
cifar100_jpeg80_train.npz 19786522 0c82e8c214941f882fc0caa778c59c63c2b06b4b12f579c95a579955beec93c9
cifar100_jpeg80_test.npz 3985519 c6048e9cc338dcd16547c34550cd8e792a4edc74f35d7bf895fdb57eee31fb22
"""
BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]

CIFAR10 = Store(
    "cifar10",
    "CIFAR-10",
    (
        Source(
            "official archive cifar-10-binary.tar.gz",
            files(ARCHIVES10, *ADDRESSES),
            partial(decode_binary, train=BATCHES, test="test_batch.bin", label_bytes=1),
        ),
        Source(
            "data packs cifar10_*.npz: lossless, except 93 images decoded from JPEG",
            files(PACKS10),
            packs.decode,
        ),
    ),
)

CIFAR100 = Store(
    "cifar100",
    "CIFAR-100",
    (
        Source(
            "official archive cifar-100-binary.tar.gz",
            files(ARCHIVES100, *ADDRESSES),
            partial(decode_binary, train=["train.bin"], test="test.bin", label_bytes=2),
        ),
        Source(
            "data packs cifar100_jpeg80_*.npz: JPEG of quality 80, 32.6 dB from the originals",
            files(PACKS100),
            packs.decode,
        ),
    ),
)

CONSTANTS10 = Pixels(mean=(0.4914, 0.4822, 0.4465), deviation=(0.2023, 0.1994, 0.2010))
CONSTANTS100 = Pixels(mean=(0.5071, 0.4865, 0.4409), deviation=(0.2673, 0.2564, 0.2762))
PUBLISHED = replace(CONSTANTS10, edge="symmetric")


def _dataset(store: Store, classes: int, transform: Pixels) -> Dataset:
    load = partial(load_images, store, validation=SIZES[1])
    return Dataset(store.title, "classes", SHAPE, classes, SIZES, transform, load, store.source, store)


DATASETS = {
    "cifar10": _dataset(CIFAR10, 10, CONSTANTS10),
    "cifar10-16": replace(
        _dataset(CIFAR10, 10, replace(CONSTANTS10, padding=2)),
        title="CIFAR-10 at 16x16",
        shape=(3, 16, 16),
        load=partial(load_pooled, CIFAR10, validation=SIZES[1]),
    ),
    "cifar10-published": _dataset(CIFAR10, 10, PUBLISHED),
    "cifar100": _dataset(CIFAR100, 100, CONSTANTS100),
    "cifar100-published": _dataset(CIFAR100, 100, PUBLISHED),
}
