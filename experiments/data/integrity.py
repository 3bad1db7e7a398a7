"""SHA-256 of files and of what was made of them."""

import hashlib
from pathlib import Path

from torch import Tensor

from experiments.data.splits import Split, Splits


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def splits_sha256(splits: Splits) -> str:
    """SHA-256 over type, shape and bytes of the inputs and targets of all three splits."""
    digest = hashlib.sha256()
    for split in (splits.train, splits.validation, splits.test):
        _add(digest, split)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", split: Split) -> None:
    for values in (split.inputs, split.targets):
        if isinstance(values, Tensor):
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.cpu().numpy().tobytes())
        else:
            digest.update(values.sha256().encode())
