"""Studies at the scale of a profile: plan, launch, tables."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from joblib import cpu_count
from rich.table import Table

from experiments import planning
from experiments.cli import estimate
from experiments.common import code_digest, profiles
from experiments.common.errors import UserError
from experiments.common.progress import progress_bar
from experiments.planning import Plan
from experiments.results import tables
from experiments.runs import launcher
from experiments.runs.finished import delete_runs, find_finished
from experiments.runs.key import run_key
from experiments.runs.launcher import Board, Failure
from experiments.training.config import RunConfig

log = logging.getLogger(__name__)

NOT_FINISHED = 75
"""Exit code at the time limit: nothing failed, but runs are left (EX_TEMPFAIL of sysexits)."""


@dataclass(frozen=True)
class Request:
    """Which runs of a profile, and how they are executed.

    Attributes:
        profile: Its name.
        studies: All of the profile's if none is named.
        part: Number of one section of the study, if it has a list of them; all if None.
        only: Pattern as `planning.select` takes it; all runs if None.
        slots: Runs at a time on this machine.
        threads: CPU threads of each.
        until: Moment of `time.monotonic` at which runs end at a checkpoint.
        slurm: File with the settings of a SLURM cluster; None executes the runs on this machine.
    """

    profile: str
    studies: Sequence[str] = ()
    part: int | None = None
    only: str | None = None
    slots: int | None = None
    threads: int = 1
    until: float = math.inf
    slurm: str | None = None

    def plans(self) -> dict[str, Plan]:
        """The runs of each study, as far as finished ones decide them.

        Raises:
            UserError: For mistakes in the profile, unknown studies, and a pattern that matches nothing.
        """
        studies = self.studies or list(planning.load_profile(self.profile))
        plans = {study: planning.plan(self.profile, study, part=self.part) for study in studies}
        if self.only is None:
            return plans
        every = [config for plan in plans.values() for config in plan.runs + plan.awaited]
        keys = {run_key(config) for config in planning.select(every, self.only)}

        def chosen(configs: list[RunConfig]) -> list[RunConfig]:
            return [config for config in configs if run_key(config) in keys]

        return {study: Plan(chosen(plan.runs), chosen(plan.awaited)) for study, plan in plans.items()}


def main(request: Request) -> int:
    """All runs asked for that are not finished yet, then the tables of each study whose runs are all finished.

    Returns:
        0; 1 if any run failed; NOT_FINISHED if the time limit left runs undone.

    Raises:
        UserError: For mistakes in the request, and data that cannot be had, before anything has started.
    """
    if request.slurm is not None and request.until < math.inf:
        raise UserError(
            "with --slurm there is no time limit: each task ends and is requeued at its own `time`"
        )
    plans = {study: plan for study, plan in request.plans().items() if plan.runs}
    if not plans:
        raise UserError(
            "only: these runs follow when the others of their study are finished, which decide them"
        )
    sections = planning.load_profile(request.profile)
    codes = [_study(request, study, plan) for study, plan in plans.items()]
    if code_digest.changed() or planning.load_profile(request.profile) != sections:
        raise UserError(
            f"the code or profiles/{request.profile}.yaml was changed during the runs; the results are those of the "
            "old version, and the same command executes the remaining runs"
        )
    return next((code for code in (1, NOT_FINISHED) if code in codes), 0)


def dry_run(request: Request) -> Table:
    """What `main` would do, and how long it would take; steps are timed on this machine."""
    plans = request.plans()
    configs = [config for plan in plans.values() for config in plan.runs + plan.awaited]
    slots, threads = request.slots or _slots(), request.threads
    if request.slurm is not None:
        from experiments.runs import slurm

        settings = slurm.read(request.slurm)
        slots, threads = settings.at_a_time(len(configs)), settings.threads
    torch.set_num_threads(threads)
    shown = estimate.table(configs, slots, _parts(request, plans))
    awaited = sum(len(plan.awaited) for plan in plans.values())
    if awaited:
        shown.caption = (
            f"up to {awaited} of the runs follow when the others of their study have decided their settings"
        )
    return shown


def _parts(request: Request, plans: Mapping[str, Plan]) -> dict[str, set[str]]:
    """Keys of the runs of each part, such as "benchmark, part 2", in a profile with parts."""
    counts = profiles.parts(planning.load_profile(request.profile))
    parts = {
        f"{study}, part {number}": planning.plan(request.profile, study, part=number)
        for study in plans
        for number in range(1, counts.get(study, 0) + 1)
        if request.part in (None, number)
    }
    return {name: {run_key(config) for config in plan.runs + plan.awaited} for name, plan in parts.items()}


def _study(request: Request, study: str, plan: Plan) -> int:
    """The runs of a study, then those that they decide, then the tables."""
    code = _runs(request, study, plan.runs)
    if code:
        return code
    decided = request.plans()[study] if plan.awaited else plan
    if len(decided.runs) > len(plan.runs):
        return _study(request, study, decided)
    finished = find_finished(plan.runs)
    if request.only is None:
        planning.write_parts(request.profile, study, request.part)
    if request.only is not None or request.part is not None:
        log.info(
            f"{study}: {len(finished)} runs finished; with --only or --part no tables are written, without it they are"
        )
    else:
        tables.write(study, request.profile, finished)
    return 0


def _runs(request: Request, study: str, configs: Sequence[RunConfig]) -> int:
    """Execute the runs that are not finished, unless time is up; 0, or the exit code that says why some are left."""
    if time.monotonic() <= request.until:
        with progress_bar(f"{study}: runs") as show:
            failures = _execute(request, study, configs, lambda board: show(*_state(board)))
        if failures:
            _complain(failures)
            return 1
    left = len(configs) - len(find_finished(configs))
    if left and time.monotonic() > request.until:
        log.info(
            f"{study}: time limit reached, {left} of {len(configs)} runs left; the same command continues"
        )
        return NOT_FINISHED
    if left and code_digest.changed():
        raise UserError("the code was changed during the runs; the same command completes them")
    if left:
        raise UserError(
            f"{study}: {left} of {len(configs)} runs are neither finished nor failed (deleted meanwhile?); "
            "the same command completes them"
        )
    return 0


def _slots() -> int:
    """Runs at a time: one per GPU, else one per core."""
    return torch.cuda.device_count() or cpu_count(only_physical_cores=True)


def _execute(
    request: Request, study: str, configs: Sequence[RunConfig], show: Callable[[Board], None]
) -> list[Failure]:
    if request.slurm is None:
        slots = request.slots or _slots()
        return launcher.launch(
            configs, slots, request.threads, show, lambda: time.monotonic() > request.until
        )
    from experiments.runs import slurm

    return slurm.launch(configs, slurm.read(request.slurm), f"{study}-{request.profile}", show)


def forget(request: Request) -> None:
    """Delete the finished runs that are asked for, so that they are run anew."""
    finished = [run for plan in request.plans().values() for run in find_finished(plan.runs)]
    delete_runs(finished)
    log.info(f"{len(finished)} runs of profile {request.profile} deleted")


def _state(board: Board) -> tuple[float, int, str]:
    failed = len(board.failures)
    return board.done, board.total, f"{failed} failed" if failed else ""


def _complain(failures: Sequence[Failure]) -> None:
    log.error(f"{len(failures)} runs failed; the same command tries them again:")
    for failure in failures:
        where = failure.log if failure.log.is_file() else "it left no log"
        log.error(f"  {failure.name}\n    {failure.reason}\n    {where}")
