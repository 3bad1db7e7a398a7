"""ImageNet (ILSVRC 2012) as an image folder, read batch by batch: `train/<class>/...` and `val/<class>/...`.

The folder is `imagenet` in PAL_DATA_MIRROR or in `data/`. As in the published pipeline, the shorter side is
scaled to 226 pixels, training uses random crops of 224, values are divided by 255 without further normalisation,
nothing is flipped, and the validation images serve as validation and test set. Unlike there, evaluation uses
the central crop, and the published colour noise (mean -2, apparently a bug) is omitted. Training images cycle
through the classes, so that the first n of them are balanced.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments.common.errors import UserError
from experiments.data import store
from experiments.data.dataset import Dataset
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Pixels

SHORTER, CROP, CLASSES = 226, 224, 1000
RESOLUTION = 1 << 16
"""Relative crop positions are k / (RESOLUTION - 1)."""
SUFFIXES = {".jpeg", ".jpg", ".png"}


@dataclass(frozen=True)
class Crops(Pixels):
    """Images that are already cropped; the random numbers are the relative position of the crop, row and column."""

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Draw positions 0 .. 65535, from top to bottom and from left to right."""
        return random.integers(0, RESOLUTION, size=(count, 2))

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:  # noqa: ARG002
        """Normalise only: the image was cropped when it was read."""
        return self.plain(raw)


@dataclass(frozen=True)
class ImageFiles:
    """Image files of a folder, decoded by one thread per core."""

    root: Path
    names: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> Self:
        """The same files, read onto `device`."""
        return replace(self, device=device)

    def select(self, rows: slice) -> Self:
        """Some of the files."""
        return replace(self, names=self.names[rows])

    def sha256(self) -> str:
        """SHA-256 over names and sizes of all files, in their order."""
        lines = (f"{name} {(self.root / name).stat().st_size}\n" for name in self.names)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def take(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        """Images uint8 [B, 3, 224, 224], cropped at the positions `draws` (None: at the centre)."""
        centre = torch.full((len(indices), 2), RESOLUTION // 2)
        paths = [self.root / self.names[index] for index in indices.tolist()]
        images = self._threads.map(_read, paths, (centre if draws is None else draws).tolist())
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).to(self.device)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count())


def _read(path: Path, position: Sequence[int]) -> np.ndarray:
    """Scale the shorter side to 226 pixels and crop 224 x 224."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise UserError(f"the image {path} is damaged: {error}") from error
    scale = SHORTER / min(image.size)
    image = image.resize(
        [max(SHORTER, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR
    )
    top, left = (
        round(p / (RESOLUTION - 1) * (side - CROP))
        for p, side in zip(position, image.size[::-1], strict=True)
    )
    return np.asarray(image.crop((left, top, left + CROP, top + CROP)))


def in_turn(labels: np.ndarray) -> np.ndarray:
    """An order that cycles through the classes; within a class, the order is kept."""
    rank = np.empty_like(labels)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.lexsort((labels, rank))


def list_split(root: Path, split: str, classes: int) -> Split:
    """The images of `root/split/<class>/`, cycling through the classes, which are numbered by name."""
    folders = sorted(path for path in (root / split).glob("*") if path.is_dir())
    if len(folders) != classes:
        raise UserError(f"{root / split} has {len(folders)} class folders instead of {classes}")
    files = [
        (path.relative_to(root).as_posix(), label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    labels = np.array([label for _, label in files], dtype=np.int64)
    order = in_turn(labels)
    return Split(
        ImageFiles(root, tuple(files[i][0] for i in order), torch.device("cpu")),
        torch.from_numpy(labels[order]),
    )


def find_root(name: str) -> Path:
    """The image folder `name` in the mirror or in the data folder."""
    places = [place / name for place in (store.mirror(), store.folder()) if place is not None]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(
        f"ImageNet is not here: make a folder {name} with train/<class>/ and val/<class>/ in the folder that "
        f"PAL_DATA_MIRROR names, or in {store.folder()}, or download ILSVRC2012_img_train.tar and "
        "ILSVRC2012_img_val.tar from image-net.org, which asks for a registration, and unpack them there. "
        "The profile quick needs none of this"
    )


def load() -> Splits:
    """Training images, and the validation images as validation and test split."""
    root = find_root("imagenet")
    validation = list_split(root, "val", CLASSES)
    return Splits(list_split(root, "train", CLASSES), validation, validation)


DATASETS = {
    "imagenet": Dataset(
        "ImageNet",
        "classes",
        (3, CROP, CROP),
        CLASSES,
        (1_281_167, 50_000, 50_000),
        Crops(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0)),
        load,
        lambda: f"image folder {find_root('imagenet')}",
        holds_out=False,
    )
}
