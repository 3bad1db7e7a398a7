"""The checkpoint of a run: one file, the SHA-256 of a state before the state itself."""

import hashlib
import io
import logging
from pathlib import Path

import torch

from experiments.common.paths import write_whole
from experiments.training.record import State

log = logging.getLogger(__name__)


def save(path: Path, state: State) -> None:
    """Replace the checkpoint; if the disk does not take it, the one before stays."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    try:
        write_whole(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        log.warning(f"no checkpoint was saved, the run goes on: {error}")


def load(path: Path) -> State | None:
    """What was saved last, on the CPU; None if nothing was, or if it is damaged: the run then begins anew."""
    if not path.exists():
        return None
    whole = path.read_bytes()
    size = hashlib.sha256().digest_size
    digest, content = whole[:size], whole[size:]
    if hashlib.sha256(content).digest() != digest:
        log.warning(f"the checkpoint {path} is damaged; the run begins anew")
        path.unlink()
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
