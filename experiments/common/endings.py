"""A command ends together with its children and with its parent, but not because its terminal is closed."""

import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

LOOK_SECONDS = 0.5
"""Interval at which the parent is checked."""

GRACE_SECONDS = 3.0
"""Time to clean up after a signal."""


def arrange() -> None:
    """End on SIGTERM and on SIGHUP (unless ignored, as by nohup), and with make or DVC if called by one of them."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    if "MAKELEVEL" in os.environ or "DVC_STAGE" in os.environ:
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:  # else it was closed from the start
            setattr(sys, name, Lasting(stream))


def end_silently() -> None:
    """Have signals end this process at once, without a traceback: for one that was forked from a command."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> None:
    """Kill all descendants, then end as Ctrl-C does, or at once if that takes too long."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    late = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
    late.daemon = True
    late.start()
    raise KeyboardInterrupt


def _follow(parent: int) -> None:
    """Wait until the parent ends or is told to, then end as well."""
    while os.getppid() == parent and not _is_hung_up(parent):
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_hung_up(process: int) -> bool:
    """Whether make has received SIGHUP: it does not pass it on, but blocks it and waits for its children."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # no Linux, or the process has just ended
        return False
    blocked = next((line.split()[1] for line in lines if line.startswith("SigBlk:")), "0")
    return bool(int(blocked, 16) & 1 << (signal.SIGHUP - 1))


class Lasting:
    """A stream that discards everything once its terminal or reader is gone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, unless nobody can read it."""
        return self._attempt(self._stream.write, text) or len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._attempt(self._stream.flush)

    def _attempt(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
