"""How far something is: a bar on a terminal, elsewhere a line now and then. Both tell the time left."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

log = logging.getLogger(__name__)

LINE_SECONDS = 10.0
"""Time between lines where there is no terminal."""

PACE_SECONDS = 600.0
"""Span over which the pace is measured: runs may take minutes."""

Show = Callable[[float, int, str], None]
"""Called as often as one likes with how much is done, parts included, of how much, and further words."""


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
    """A function to call to show progress on standard error."""
    console, words = Console(stderr=True), "[dim]{task.fields[words]}[/]"
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), words)
    bar = Progress(*columns, console=console, speed_estimate_period=PACE_SECONDS)
    quiet = not console.is_terminal
    with nullcontext() if quiet else bar:
        bar.add_task(title, total=None, words="")
        (task,) = bar.tasks
        printed_at, printed = -LINE_SECONDS, ""

        def show(done: float, total: int, words: str) -> None:
            nonlocal printed_at, printed
            bar.update(task.id, completed=done, total=total)
            left = task.time_remaining
            left_words = "done" if done >= total else f"about {duration(left)} left" if left else ""
            bar.update(task.id, words=", ".join(filter(None, (left_words, words))))
            due = done >= total or time.monotonic() - printed_at >= LINE_SECONDS
            text = f"{title}: {int(done)}/{total} {task.fields['words']}".rstrip()
            if quiet and due and text != printed:
                log.info(text)
                printed_at, printed = time.monotonic(), text

        yield show


def duration(seconds: float) -> str:
    """A duration for display: 42 s, 7 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
