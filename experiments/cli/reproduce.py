"""A profile from its runs to its report: what `make reproduce` does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from experiments.cli import study
from experiments.cli.study import Request
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, lock
from experiments.pipeline import Pipeline


def main(request: Request, force: bool) -> int:
    """Make what is out of date; with `force` all that is asked for.

    Returns:
        0, or the exit code of what failed.
    """
    if request.only is not None:
        return _only(request, force)
    with _alone(request.profile):
        if force:
            study.forget(request)
        pipeline = Pipeline(request.profile)
        return pipeline.make("plan") or _studies(pipeline, request) or _report(pipeline, force)


def _only(request: Request, force: bool) -> int:
    """Some runs, of which nothing is made."""
    if force:
        study.forget(request)
    return study.main(request)


def _studies(pipeline: Pipeline, request: Request) -> int:
    """The runs and tables of studies that are out of date, all at once: workers start once, not once a stage."""
    outdated = pipeline.outdated()
    code = study.main(replace(request, studies=outdated)) if outdated else 0
    if code == 0:
        pipeline.keep(*pipeline.stages(outdated))
    return code


def _report(pipeline: Pipeline, force: bool) -> int:
    """What is made of the tables."""
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
