"""Tiny-ImageNet: colour images of 64x64 in 200 classes, and every tenth of its classes as a set of its own.

Of the 500 training images per class, the last 50 are for validation; the published validation images (50 per
class) are for test, since the published test labels are secret. Classes are sorted by WordNet number, and images
cycle through the classes, so that the first n of them are balanced. Normalisation constants are ImageNet's.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from experiments.common.errors import UserError
from experiments.data import archives, packs
from experiments.data.cifar import load_images
from experiments.data.dataset import Dataset
from experiments.data.imagefolder import in_turn
from experiments.data.sources import Arrays, Source, files
from experiments.data.store import Store
from experiments.data.transforms import Pixels

ROOT = "tiny-imagenet-200"
Labelled = dict[str, list[tuple[str, bytes]]]
"""Class -> names and bytes of its images."""


def decode_folder(paths: Sequence[Path], every: int) -> Arrays:
    """Decode the archive, or the folder that it unpacks to; only every `every`-th class."""
    train, test = read_members(paths[0])
    classes = sorted(train)[::every]
    if not classes:
        raise UserError(f"{paths[0]} holds no training images in {ROOT}/train/<class>/images/")
    return balanced({**_decode("train", train, classes), **_decode("test", test, classes)})


def read_members(path: Path) -> tuple[Labelled, Labelled]:
    """Training and validation images by class."""
    train: Labelled = {}
    validation: dict[str, bytes] = {}
    annotations = ""
    for name, content in archives.read(
        path, lambda name: name.startswith((f"{ROOT}/train/", f"{ROOT}/val/"))
    ):
        member = PurePosixPath(name)
        if member.name == "val_annotations.txt":
            annotations = content.decode()
        elif member.suffix == ".JPEG" and member.parts[1] == "train":
            train.setdefault(member.parts[2], []).append((member.name, content))
        elif member.suffix == ".JPEG":
            validation[member.name] = content
    test: Labelled = {}
    for line in annotations.splitlines():
        name, label = line.split()[:2]
        test.setdefault(label, []).append((name, validation[name]))
    return train, test


def _decode(split: str, images: Labelled, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Images of the classes, within a class in the order of the numbers in their names (n01443537_12.JPEG: 12)."""
    chosen = [
        (packs.decode_image(content), label)
        for label, name in enumerate(classes)
        for _, content in sorted(images[name], key=lambda image: int(Path(image[0]).stem.split("_")[1]))
    ]
    pixels = np.stack([image for image, _ in chosen]).transpose(0, 3, 1, 2)
    return {
        f"{split}_images": np.ascontiguousarray(pixels),
        f"{split}_labels": np.array([label for _, label in chosen], dtype=np.int64),
    }


def balanced(arrays: Arrays) -> Arrays:
    """The same images, cycling through the classes."""
    orders = {split: in_turn(arrays[f"{split}_labels"]) for split in ("train", "test")}
    return {name: array[orders[name.split("_")[0]]] for name, array in arrays.items()}


def decode_packs(paths: Sequence[Path]) -> Arrays:
    """Decode the packs with every tenth class."""
    return balanced(packs.decode(paths))


ARCHIVE = f"{ROOT}.zip 248100043 6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
ADDRESS = "http://cs231n.stanford.edu/"
PACKS = """\
tinyimagenet20_train.npz 19100669 bb7da3e395b982a7451d7dbe0544b67d2c5fd26f037288f26ec42b609b7e6c33
tinyimagenet20_val.npz 1900171 e3f0fbe12cb85456355a9181d31ecadff5c1cc97f90323498eb0e08d26ed7bd3
"""


def _dataset(name: str, classes: int, sources: Sequence[Source]) -> Dataset:
    every = 200 // classes
    folder = Source(f"image folder {ROOT}", (), partial(decode_folder, every=every), folder=ROOT)
    archive = Source(
        f"official archive {ROOT}.zip", files(ARCHIVE, ADDRESS), partial(decode_folder, every=every)
    )
    title = "Tiny-ImageNet" if every == 1 else f"Tiny-ImageNet, every {every}th class"
    store = Store(name, title, (*sources, folder, archive))
    validation = 50 * classes
    return Dataset(
        title,
        "classes",
        (3, 64, 64),
        classes,
        (450 * classes, validation, 50 * classes),
        Pixels(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225), padding=8),
        partial(load_images, store, validation=validation),
        store.source,
        store,
    )


DATASETS = {
    "tinyimagenet": _dataset("tinyimagenet", 200, ()),
    "tinyimagenet20": _dataset(
        "tinyimagenet20",
        20,
        (Source("data packs tinyimagenet20_*.npz: original JPEG bytes", files(PACKS), decode_packs),),
    ),
}
