"""Data packs: NumPy archives that store many small images as tall WebP or JPEG pictures."""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.data.sources import Arrays


def decode(paths: Sequence[Path]) -> Arrays:
    """Decode images uint8 [N, C, H, W] and labels [N] of a training pack and a test pack."""
    (train_images, train_labels), (test_images, test_labels) = map(_decode, paths)
    return {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
    }


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as pack:
        height, width, channels = map(int, pack["shape"])
        blob, ends, labels = pack["blob"].tobytes(), pack["offsets"].tolist(), pack["labels"].astype(np.int64)
    mode = "RGB" if channels == 3 else "L"
    pictures = [decode_image(blob[i:j], mode) for i, j in pairwise(ends)]
    images = np.concatenate([picture.reshape(-1, height, width, channels) for picture in pictures])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels


def decode_image(content: bytes, mode: str = "RGB") -> np.ndarray:
    """Pixels uint8 of one encoded picture."""
    return np.asarray(Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")).convert(mode))
