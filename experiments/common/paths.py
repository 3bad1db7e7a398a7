"""Where things are, and files that are there whole or not at all."""

import errno
import fcntl
import logging
import os
import shutil
import uuid
from functools import cache
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
"""Errors of file systems without locks."""

NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
"""Errors of file systems without fsync."""


STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
"""Where files are that this process has opened; a pipe among them is no device."""


def runs_root() -> Path:
    """Folder of all runs: $PAL_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("PAL_RUNS") or REPOSITORY / "runs").absolute()


def is_file(path: Path) -> bool:
    """Whether the file exists; no error for names that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def regular(path: Path) -> Path:
    """The path of a file; raises FileNotFoundError for anything else, such as a pipe, which could be read for ever."""
    if not is_file(path):
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    return path


def remove(path: Path) -> None:
    """Delete what is at a path, as far as possible: a folder with its content, a file, a link or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file and its folders. Readers see the old or the new content, and of two writers one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
        to_disk(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def is_stream(path: Path) -> bool:
    """Whether this is a device, or what a process has opened."""
    return path.is_char_device() or str(path.absolute()).startswith(STREAMS)


def write_output(path: Path, content: bytes) -> None:
    """Write the file that a person names; a device such as /dev/null or /dev/stdout is not replaced by one."""
    if is_stream(path):
        path.write_bytes(content)
    else:
        write_whole(path, content)


def to_disk(path: Path) -> None:
    """Flush a file or folder to disk, so that a power loss cannot leave an empty file under its final name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


def lock(file: IO[str], wait: bool = True) -> None:
    """Lock a file until it is closed, or raise BlockingIOError; on file systems without locks, only warn."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn_of_no_locks()


@cache
def _warn_of_no_locks() -> None:
    log.warning("this file system has no locks: do not run the same command twice at the same time")
