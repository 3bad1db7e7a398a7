"""A study at the scale of a profile: plan, launch, tables."""

import shutil
from collections.abc import Sequence

from rich.console import Console

from experiments import display, launcher, machine, profiles, runs, tables
from experiments.errors import UserError
from experiments.launcher import Board, Failure


def main(study: str, profile: str, slots: int | None, threads: int) -> int:
    """All runs of a study that are not finished yet, then its tables; 1 if any run failed.

    Raises:
        UserError: For mistakes in the profile and data that cannot be had, before anything has started.
    """
    configs = profiles.plan(profile, study)
    with display.progress(f"{study}: runs") as show:
        failures = launcher.launch(
            configs, slots or machine.slots(), threads, lambda board: show(*_state(board))
        )
    if failures:
        _complain(failures)
        return 1
    finished = runs.finished(configs)
    if len(finished) < len(configs):
        raise UserError("the code was changed while its runs were under way; the same command completes them")
    tables.write(study, profile, finished)
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


def _state(board: Board) -> tuple[int, int, str]:
    failed = len(board.failures)
    return len(board.finished) + failed, board.total, f"{failed} failed" if failed else ""


def _complain(failures: Sequence[Failure]) -> None:
    console = Console(stderr=True)
    console.print(f"{len(failures)} runs failed; the same command tries them again:", style="bold red")
    for failure in failures:
        console.print(
            f"  {failure.name}\n    {failure.reason}\n    {failure.log}", markup=False, soft_wrap=True
        )
