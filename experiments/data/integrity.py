"""Checks of files and disk space, and the SHA-256 of files and splits."""

import hashlib
import shutil
from pathlib import Path

from torch import Tensor

from experiments.common.errors import UserError
from experiments.data.splits import Split, Splits


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, size: int, sha256: str) -> None:
    """Raise UserError unless the file has this size and SHA-256."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    found = path.stat().st_size
    if found != size:
        raise UserError(
            f"{path} has {found:,} bytes instead of {size:,}: truncated, or not the file it should be"
        )
    digest = file_sha256(path)
    if digest != sha256:
        raise UserError(f"{path} is damaged: its SHA-256 is {digest[:12]}... instead of {sha256[:12]}...")


def require_space(folder: Path, size: int, title: str) -> None:
    """Raise UserError unless the folder's file system has room for `size` bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{title} needs {size / 1e6:,.1f} MB in {folder}, where {free / 1e6:,.1f} MB are free"
        )


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
