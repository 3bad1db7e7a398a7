"""The checkpoint of a run: one file that holds the SHA-256 of a state, then the state."""

import hashlib
import io
import logging
import os
from pathlib import Path

import torch

from experiments.common.paths import regular, remove, write_whole
from experiments.training.record import State

log = logging.getLogger(__name__)


def save(path: Path, state: State) -> None:
    """Replace the checkpoint; if it cannot be written, the previous one stays."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    try:
        write_whole(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        log.warning(f"no checkpoint was saved, the run continues: {error}")


def load(path: Path) -> State | None:
    """The last state, on the CPU; None if there is none or it is damaged, so that the run starts again."""
    if not os.path.lexists(path):
        return None
    content = _verified(path)
    if content is None:
        log.warning(f"the checkpoint {path} is damaged; the run starts again")
        remove(path)
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _verified(path: Path) -> bytes | None:
    """The state as bytes; None if it cannot be read or does not match its checksum."""
    size = hashlib.sha256().digest_size
    try:
        whole = regular(path).read_bytes()
    except OSError:
        return None
    return whole[size:] if hashlib.sha256(whole[size:]).digest() == whole[:size] else None
