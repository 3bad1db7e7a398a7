"""A study at the scale of a profile: plan, launch, tables. What people see of it meanwhile."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments import launcher, profiles, runs, tables
from experiments.launcher import Failure

PLAIN_SECONDS = 10.0
"""Time between progress lines where there is no terminal."""


def main(study: str, profile: str, slots: int | None, threads: int) -> int:
    """All runs of a study that are not finished yet, then its tables; 1 if any run failed."""
    configs = profiles.plan(profile, study)
    with _display(study) as show:
        failures = launcher.launch(configs, slots or launcher.default_slots(), threads, show)
    if failures:
        _complain(failures)
        return 1
    tables.write(study, profile, runs.finished(configs))
    return 0


def forget(profile: str) -> int:
    """Delete the finished runs of a profile, so that they are run anew."""
    finished = [
        run for study in profiles.load(profile) for run in runs.finished(profiles.plan(profile, study))
    ]
    for run in finished:
        shutil.rmtree(run.directory)
    Console(stderr=True).print(f"{len(finished)} runs of profile {profile} deleted")
    return 0


def duration(seconds: float | None) -> str:
    """For people: "about 2 min", or "?" before anything is known."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _display(study: str) -> Iterator[Callable[[launcher.Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(study).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[left]}[/]"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(study, total=None, left="")
        yield lambda progress: bar.update(
            task, total=progress.total, completed=progress.done + progress.failed, left=_words(progress)
        )


def _words(progress: launcher.Progress) -> str:
    left = progress.total - progress.done - progress.failed
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{duration(progress.seconds_left)} left{failed}" if left else f"done{failed}"


class _Lines:
    """Progress where there is no terminal: a line at the start, now and then, and at the end."""

    def __init__(self, study: str) -> None:
        self._study, self._last, self._text = study, 0.0, ""

    def show(self, progress: launcher.Progress) -> None:
        """A line, if one is due."""
        text = f"{self._study}: {progress.done}/{progress.total} runs, {_words(progress)}"
        over = progress.done + progress.failed == progress.total
        due = over or time.monotonic() - self._last > PLAIN_SECONDS
        if due and text != self._text:
            Console(stderr=True).print(text, highlight=False)
            self._last, self._text = time.monotonic(), text


def _complain(failures: list[Failure]) -> None:
    console = Console(stderr=True)
    console.print(f"{len(failures)} runs failed; the same command tries them again:", style="bold red")
    for failure in failures:
        console.print(
            f"  {failure.name}\n    {failure.reason}\n    {failure.log}", highlight=False, soft_wrap=True
        )
