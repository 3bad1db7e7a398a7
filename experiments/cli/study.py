"""Execute the studies of a profile: plan, launch, tables."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from joblib import cpu_count
from rich.table import Table

from experiments import planning
from experiments.cli import estimate
from experiments.common import code_digest, profiles
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.common.progress import progress_bar
from experiments.planning import Plan
from experiments.results import missing, tables
from experiments.runs import launcher, run_packs
from experiments.runs.finished import FinishedRun, delete_runs, divided, find_finished
from experiments.runs.key import run_key
from experiments.runs.launcher import Board, Failure, Slots
from experiments.runs.mixture import require_one_kind, require_same_device
from experiments.training.config import RunConfig

if TYPE_CHECKING:
    from experiments.runs.slurm import Cluster

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
        threads: CPU threads of each; on a cluster its settings say it.
        instruction_set: Of each, "portable" or "native".
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
    instruction_set: str = "portable"

    @cached_property
    def cluster(self) -> "Cluster | None":
        """The settings of the cluster, if the runs are executed on one."""
        if self.slurm is None:
            return None
        from experiments.runs import slurm  # takes submitit, which takes half a second

        return slurm.read(self.slurm)

    @property
    def how(self) -> dict[str, Any]:
        """Fields of the runs that are set by this request."""
        threads = self.threads if self.cluster is None else self.cluster.threads
        return {"threads": threads, "instruction_set": self.instruction_set}

    @cached_property
    def sections(self) -> dict[str, Any]:
        """The profile, as it was when it was first read."""
        return planning.load_profile(self.profile)

    def require_unchanged(self) -> None:
        """Raises UserError if the code or the profile has changed since it was first read."""
        if code_digest.changed() or planning.load_profile(self.profile) != self.sections:
            raise UserError(
                f"the code or profiles/{self.profile}.yaml has changed during the runs; finished runs belong to the "
                "old version; run the same command again to execute the remaining ones"
            )

    def plans(self) -> dict[str, Plan]:
        """The runs of each study, as far as they are determined by finished ones.

        Raises:
            UserError: For mistakes in the profile, unknown studies, and a pattern that matches nothing.
        """
        sections = self.sections  # read now, even if studies are named: what changes later is noticed
        studies, how = self.studies or list(sections), self.how
        plans = {study: planning.plan(self.profile, study, part=self.part, how=how) for study in studies}
        if self.only is None:
            return plans
        every = [config for plan in plans.values() for config in plan.every]
        keys = {run_key(config) for config in planning.select(every, self.only)}

        def chosen(configs: list[RunConfig]) -> list[RunConfig]:
            return [config for config in configs if run_key(config) in keys]

        return {study: Plan(chosen(plan.runs), chosen(plan.awaited)) for study, plan in plans.items()}


def main(request: Request) -> int:
    """Execute the requested runs that are not finished, then write the tables of each study.

    Returns:
        0; 1 if any run failed; NOT_FINISHED if the time limit left runs undone.

    Raises:
        UserError: For mistakes in the request and data that are not available, before anything has started.
    """
    if request.slurm is not None and request.until < math.inf:
        raise UserError(
            "--time-limit cannot be used with --slurm: each task is requeued at the `time` in its file"
        )
    run_packs.unpack_all(request.profile)
    plans = {study: plan for study, plan in request.plans().items() if plan.runs}
    if not plans:
        raise UserError("only: these runs depend on others of their study, which have to be finished first")
    with Slots(request.slots or _slots()) as slots:
        codes = [_study(request, slots, study, plan) for study, plan in plans.items()]
    request.require_unchanged()
    return next((code for code in (1, NOT_FINISHED) if code in codes), 0)


def dry_run(request: Request) -> Table:
    """What `main` would do, and how long it would take; steps are timed on this machine."""
    run_packs.unpack_all(request.profile)
    plans = request.plans()
    configs = [config for plan in plans.values() for config in plan.every]
    slots = request.cluster.at_a_time(len(configs)) if request.cluster else request.slots or _slots()
    torch.set_num_threads(request.how["threads"])
    shown = estimate.table(configs, slots, _parts(request, plans))
    awaited = sum(len(plan.awaited) for plan in plans.values())
    if awaited:
        shown.caption = (
            f"up to {awaited} of the runs depend on hyper-parameters that the others of their study select"
        )
    return shown


def _parts(request: Request, plans: Mapping[str, Plan]) -> dict[str, set[str]]:
    """Keys of the runs of each part, such as "benchmark, part 2", in a profile with parts."""
    counts = profiles.parts(planning.load_profile(request.profile))
    parts = {
        f"{study}, part {number}": planning.plan(request.profile, study, part=number, how=request.how)
        for study in plans
        for number in range(1, counts.get(study, 0) + 1)
        if request.part in (None, number)
    }
    return {name: {run_key(config) for config in plan.every} for name, plan in parts.items()}


def _study(request: Request, slots: Slots, study: str, plan: Plan) -> int:
    """Execute the runs of a study, then those that depend on them, then write the tables."""
    failures: list[Failure] = []
    code = _runs(request, slots, study, plan.runs, failures)
    if code == 0 and plan.awaited:
        decided = request.plans()[study]
        if len(decided.runs) > len(plan.runs):
            return _study(request, slots, study, decided)
    _tables(request, study, failures)
    return code


def _tables(request: Request, study: str, failures: Sequence[Failure]) -> None:
    """Write the tables of all finished runs of the study, requested or not, and list those that are missing."""
    if request.only is None:
        planning.write_parts(request.profile, study, request.part, request.how)
    if request.part is not None:
        return
    finished, left = _finished_and_left(request, study)
    place = tables.folder(request.profile, study).relative_to(REPOSITORY)
    if left and missing.would_lose(request.profile, study, left.values()):
        log.info(
            f"{study}: {len(left)} runs are missing; until they are finished, the tables in {place} stay as earlier "
            "runs made them"
        )
        return
    require_one_kind(study, finished)
    if finished:
        tables.write(study, request.profile, finished)
    missing.write(request.profile, study, left, {one.log.parent.name: one.reason for one in failures})
    if left:
        log.info(
            f"{study}: the tables in {place} contain {len(finished)} runs; missing.csv lists {len(left)} others"
        )


def _finished_and_left(request: Request, study: str) -> tuple[list[FinishedRun], dict[str, RunConfig]]:
    """The finished runs of a whole study, and those that are not finished, by key."""
    plan = planning.plan(request.profile, study, how=request.how)
    finished, left = divided(plan.runs)
    return finished, left | {run_key(config): config for config in plan.awaited}


def _runs(
    request: Request, slots: Slots, study: str, configs: Sequence[RunConfig], failures: list[Failure]
) -> int:
    """Execute the unfinished runs within the time limit; returns 0, or the exit code that says why some remain.

    Runs that fail are added to `failures`.
    """
    if time.monotonic() <= request.until:
        with progress_bar(f"{study}: runs") as show:
            failures += _execute(request, slots, study, configs, lambda board: show(*_state(board)))
        if failures:
            _complain(failures)
            return 1
    left = len(configs) - len(find_finished(configs))
    if left and time.monotonic() > request.until:
        log.info(f"{study}: time limit reached, {left} of {len(configs)} runs left; the same command resumes")
        return NOT_FINISHED
    if left:
        request.require_unchanged()
        raise UserError(
            f"{study}: {left} of {len(configs)} runs are neither finished nor failed (deleted meanwhile?); "
            "run the same command again to execute them"
        )
    return 0


def _slots() -> int:
    """Runs at a time: one per GPU, else one per core."""
    return torch.cuda.device_count() or cpu_count(only_physical_cores=True)


def _execute(
    request: Request, slots: Slots, study: str, configs: Sequence[RunConfig], show: Callable[[Board], None]
) -> list[Failure]:
    if request.cluster is not None:
        from experiments.runs import slurm

        return slurm.launch(configs, request.cluster, f"{study}-{request.profile}", show)
    finished, left = divided(configs)
    require_same_device(study, finished, list(left.values()))
    return launcher.launch(configs, slots, show, lambda: time.monotonic() > request.until)


def forget(request: Request) -> None:
    """Delete the requested finished runs, also from their packs, so that they are executed again."""
    run_packs.unpack_all(request.profile)
    plans = request.plans()
    several = {study: find_finished(plan.runs) for study, plan in plans.items()}
    for study, finished in several.items():
        _mark_missing(request, study, plans[study].runs)
        pack = run_packs.path_of(request.profile, study)
        if pack.exists():
            run_packs.leave_out(pack, {run.key for run in finished})
    finished = [run for finished in several.values() for run in finished]
    delete_runs(finished)
    log.info(f"{len(finished)} runs of profile {request.profile} deleted")


def _mark_missing(request: Request, study: str, configs: Sequence[RunConfig]) -> None:
    """Name runs that will be deleted in missing.csv beside the tables, so that DVC takes the study for out of date."""
    if (tables.folder(request.profile, study) / "times.csv").is_file():
        _, left = _finished_and_left(request, study)
        missing.write(request.profile, study, left | {run_key(config): config for config in configs}, {})


def _state(board: Board) -> tuple[float, int, str]:
    failed = len(board.failures)
    return board.done, board.total, f"{failed} failed" if failed else ""


def _complain(failures: Sequence[Failure]) -> None:
    log.error(f"{len(failures)} runs failed; run the same command to retry them:")
    for failure in failures:
        where = failure.log if failure.log.is_file() else "(no log)"
        log.error(f"  {failure.name}\n    {failure.reason}\n    {where}")
