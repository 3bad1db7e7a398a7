"""`make reproduce`: a profile from its runs to its report."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from experiments import planning
from experiments.cli import study
from experiments.cli.study import Request
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, lock
from experiments.pipeline import Pipeline
from experiments.results import tables

log = logging.getLogger(__name__)


def main(request: Request, force: bool) -> int:
    """Update everything that is out of date; with `force`, everything that was requested.

    Returns:
        0, or the exit code of what failed.
    """
    if request.only is not None:
        return _only(request, force)
    with _alone(request.profile):
        if force:
            study.forget(request)
        pipeline = Pipeline(request.profile)
        outdated, other = pipeline.outdated(), planning.has_other_digests(request.profile)
        code = 0
        if other or "plan" in outdated:
            code = pipeline.make("plan", force=other)
            outdated = pipeline.outdated()
        code = code or _studies(pipeline, request, outdated)
        if code:
            partial_report(request.profile)
            return code
        return _report(pipeline, force) if force or outdated else 0


def _only(request: Request, force: bool) -> int:
    """Execute some runs, and report on all that are finished."""
    if force:
        study.forget(request)
    code = study.main(request)
    partial_report(request.profile)
    return code


def partial_report(profile: str) -> None:
    """Write claims, figures and report for the tables that exist, and name whatever cannot be written."""
    if not any((REPOSITORY / "results" / profile).glob("*/provenance.csv")):
        log.info("no run is finished, so there is no report")
        return
    # These take seconds to import, which a profile that is up to date does not need.
    from experiments.reports import execution, markdown, notebook, pages
    from experiments.results.claims import judge

    for make in (judge.write, execution.execute_all, notebook.draw_own, markdown.write, pages.index):
        try:
            make(profile)
        except UserError as error:
            log.warning(f"the report is incomplete: {error}")
    log.info(f"report of the finished runs: reports/{profile}/index.html")


def _studies(pipeline: Pipeline, request: Request, stages: Sequence[str]) -> int:
    """Update runs and tables of all outdated studies at once, so that workers start once instead of once per stage."""
    outdated = [name.removeprefix("study@") for name in stages if name.startswith("study@")]
    kept = [name for name in planning.load_profile(request.profile) if name not in outdated]
    _require_same_execution(request, kept, bool(outdated))
    if not outdated:
        return 0
    code = study.main(replace(request, studies=outdated))
    if code == 0:
        pipeline.keep(*pipeline.stages(outdated))
    return code


def _require_same_execution(request: Request, kept: Sequence[str], others: bool) -> None:
    """Raises UserError if tables that stay were made with other threads or instructions than asked for.

    DVC knows of neither. If nothing in particular is asked for and no study is out of date, tables stay as they are,
    such as those of a cluster in a clone.

    Args:
        request: What is asked for.
        kept: The studies that are up to date.
        others: Whether others are not.
    """
    wanted = request.how
    if not others and wanted == Request(request.profile).how:
        return
    for name in kept:
        other = next((how for how in _executions(request.profile, name) if how != wanted), None)
        if other is not None:
            raise UserError(
                f"{name}: its tables were made with {_words(other)}, and this command asks for {_words(wanted)}; "
                "results must not mix the two: ask for the former, or make everything anew with FORCE=1 (--force)"
            )


def _executions(profile: str, name: str) -> list[dict[str, Any]]:
    """Threads and instruction sets with which the tables of a study were made, as a request gives them."""
    made = tables.read(profile, name, "provenance")[["threads", "instruction_set"]].drop_duplicates()
    return [
        {"threads": threads, "instruction_set": "native" if "native" in str(instructions) else "portable"}
        for threads, instructions in made.itertuples(index=False)
    ]


def _words(how: Mapping[str, Any]) -> str:
    return f"threads={how['threads']} and the {how['instruction_set']} instruction set"


def _report(pipeline: Pipeline, force: bool) -> int:
    """Update everything that depends on the tables."""
    forced = ("claims", "report") if force else ()
    return next((code for stage in forced if (code := pipeline.make(stage, force))), 0) or pipeline.make()


@contextmanager
def _alone(profile: str) -> Iterator[None]:
    """Refuse a second call for the same profile; raises UserError that names the first."""
    path = REPOSITORY / ".dvc" / "tmp" / f"reproduce-{profile}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            lock(file, wait=False)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"another `make reproduce PROFILE={profile}` is running here (process {file.read()}); wait for it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
