"""How far something is: a bar on a terminal, elsewhere a line now and then. Both tell the time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_SECONDS = 10.0
"""Time between lines where there is no terminal."""

Show = Callable[[float, int, str], None]
"""Called as often as one likes with how much is done, parts included, of how much, and further words."""


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """What to call to show how far something is, on standard error."""
    console, left = Console(stderr=True), TimeLeft()
    if not console.is_terminal:
        yield _Lines(title, left).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[words]}[/]"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, words="")

        def show(done: float, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, words=_join(left.words(done, total), words))

        yield show


class TimeLeft:
    """Estimate from the pace since the first progress: what was there before took no time now, nor did getting ready.

    Args:
        clock: Seconds from any moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: float | None = None
        self._first: tuple[float, float] | None = None

    def words(self, done: float, total: int) -> str:
        """For people: "about 2 min left", "done", or nothing before anything is known."""
        if done >= total:
            return "done"
        if self._before is None:
            self._before = done
        if self._first is None:
            self._first = (done, self._clock()) if done > self._before else None
            return ""
        first, started = self._first
        if done <= first:
            return ""
        return f"about {duration((self._clock() - started) / (done - first) * (total - done))} left"


def duration(seconds: float) -> str:
    """For people: 42 s, 7 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


class _Lines:
    """A line at the start, now and then, and at the end."""

    def __init__(self, title: str, left: TimeLeft) -> None:
        self._title, self._left = title, left
        self._last, self._text = -PLAIN_SECONDS, ""

    def show(self, done: float, total: int, words: str) -> None:
        """A line, if one is due and says something new."""
        estimate = self._left.words(done, total)
        if done < total and time.monotonic() - self._last < PLAIN_SECONDS:
            return
        text = f"{self._title}: {int(done)}/{total} {_join(estimate, words)}".rstrip()
        if text != self._text:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            self._last, self._text = time.monotonic(), text
