"""Where things are, and files that are there whole or not at all."""

import errno
import fcntl
import logging
import os
import uuid
from functools import cache
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
"""What file systems answer that know no locks."""

NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
"""What file systems answer that cannot be asked to write to the disk at once."""


def runs_root() -> Path:
    """Folder of all runs: $PAL_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("PAL_RUNS") or REPOSITORY / "runs").absolute()


def is_file(path: Path) -> bool:
    """Whether there is a file; a name that no file can have is no mistake of its own."""
    try:
        return path.is_file()
    except OSError:
        return False


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file and its folders; whoever reads it meanwhile sees the old one, and of two writers one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
        to_disk(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def to_disk(path: Path) -> None:
    """Have a file or folder written: after a power loss, what stands under a final name must not be empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


def lock(file: IO[str], wait: bool = True) -> None:
    """Hold the lock of a file until it is closed, or raise BlockingIOError; where there are no locks, go without."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn_of_no_locks()


@cache
def _warn_of_no_locks() -> None:
    log.warning("a file system in use here knows no locks: do not start the same thing twice at a time")
