"""Keep cached results after a change of code that does not affect them.

The key of a run and the dependencies of a stage contain the code, so no change goes unnoticed; but a renamed function
should not cost weeks. `verify` repeats the first steps of some finished runs with today's code and compares them with
the recorded ones: bit by bit where device, its maker, instruction set, torch and threads are the same, else to within
`TOLERANCES`. If all agree, runs of the same configs get today's keys, and the stage is marked as up to date.
Differences that only appear after the first steps are not detected.
"""

import itertools
import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments import planning
from experiments.common.errors import UserError
from experiments.common.paths import runs_root
from experiments.common.progress import progress_bar
from experiments.pipeline import Pipeline
from experiments.results import tables
from experiments.results.tables import fingerprints
from experiments.results.tables.common import identity
from experiments.results.tables.fingerprints import Head
from experiments.runs import launcher, reasons, run_directory, run_packs
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.integrity import damage, run_folders
from experiments.runs.key import data_checksum, run_key
from experiments.runs.provenance import environment, rounding
from experiments.studies.base import get_study
from experiments.training.config import RunConfig
from experiments.training.measure import padded
from experiments.training.record import Enough, Record, State

log = logging.getLogger(__name__)

KEPT, DIFFERENT, NOT_FINISHED = 0, 1, 75
"""Exit codes, see `main`."""

TOLERANCES = (2e-3, 0.03, 0.15)
"""Relative, for loss and step of the first steps, where another device, maker, instruction set, torch or number of
threads rounds differently: at least three times what `benchmarks/rounding.py` measured (3e-4, .01 and .05).
Later steps are not compared, since differences grow until they are as large as the values."""


SERIES = ("train_loss", "step")
"""What is compared there."""


@dataclass(frozen=True)
class Recorded:
    """The recorded first steps of a run.

    Attributes:
        config: The run.
        head: What it did.
        environment: What it was made with.
        commit: Of the code that made it; None where that is not known.
    """

    config: RunConfig
    head: Head
    environment: dict[str, Any]
    commit: str | None = None


def main(profile: str, sample: int) -> int:
    """Verify every study of a profile that has results.

    Args:
        profile: Its name.
        sample: Runs of each study that are repeated; more, if there are more optimizers and commits.

    Returns:
        The exit code: 0 if all results are kept, 1 if any run does something else today, and NOT_FINISHED if all runs
        agree, but results of some study are not whole and so not kept.

    Raises:
        UserError: If the profile has no results.
    """
    run_packs.unpack_all(profile)
    known = {study: recorded(profile, study) for study in planning.load_profile(profile)}
    if not any(known.values()):
        raise UserError(
            f"profile {profile!r} has no results; `make reproduce PROFILE={profile}` produces them"
        )
    codes = {study: _study(profile, study, several, sample) for study, several in known.items() if several}
    _commit(profile, [study for study, code in codes.items() if code == KEPT])
    return next(code for code in (DIFFERENT, NOT_FINISHED, KEPT) if code in codes.values())


def recorded(profile: str, study: str) -> list[Recorded]:
    """The runs of earlier code; if there are none, those of today's code, or those in the study's traces.csv.

    Runs of today's code agree with it in any case: they say nothing about the earlier ones, which would be kept.
    """
    plan = planned(profile, study)
    there = earlier(plan) or find_finished(plan)
    if there:
        return [read(run) for run in there]
    if not (tables.folder(profile, study) / "traces.csv").is_file():
        return []
    configs = {_text(config): config for config in plan}
    rows = [
        (row, configs.get(_whole(row["config"]) or ""))
        for row in tables.read(profile, study, "traces").to_dict("records")
    ]
    found = [
        Recorded(config, json.loads(row["head"]), rounding(row)) for row, config in rows if config is not None
    ]
    _require_same_data(profile, study, found)
    return found


def _whole(text: str) -> str | None:
    """A recorded config with all of today's fields, as JSON; None if it is no longer valid."""
    try:
        recorded = json.loads(text) | {"extensions": []}  # those of the profile are loaded, wherever they lie
        return _text(RunConfig.model_validate_json(json.dumps(recorded)))
    except ValueError:
        return None


def _text(config: RunConfig) -> str:
    return json.dumps(config.model_dump(exclude={"extensions"}), sort_keys=True)


def _require_same_data(profile: str, study: str, several: Sequence[Recorded]) -> None:
    """Raises UserError if the tables were computed from other data, which the first steps may not show."""
    made = tables.read(profile, study, "provenance").groupby("problem")["data_sha256"].unique().to_dict()
    for one in several:
        dataset = one.config.resolved_problem.dataset
        if data_checksum(dataset) not in (None, *made.get(one.config.problem, ())):
            raise UserError(
                f"{study}: the data set {dataset!r} differs from the one that the results were computed from; "
                f"`make reproduce PROFILE={profile}` computes them from the data on this machine"
            )


def read(run: FinishedRun) -> Recorded:
    """The first steps of a run in runs/."""
    made = run.info["provenance"]
    return Recorded(run.config, fingerprints.head(run.trace), rounding(made), made["commit"])


def planned(profile: str, study: str) -> list[RunConfig]:
    """The runs of a study; those that others decide too if these are finished under any key, or else in the tables."""

    def known(configs: Sequence[RunConfig]) -> pd.DataFrame:
        there = find_finished(configs) + earlier(configs)
        if there or not (tables.folder(profile, study) / "runs.csv").is_file():
            return planning.outcomes(there)
        return tables.read(profile, study, "runs")

    return planning.plan(profile, study, known).runs


def earlier(plan: Sequence[RunConfig]) -> list[FinishedRun]:
    """Runs of these configs that earlier code finished under another key; of each config, the newest."""
    wanted = {run_key(config): config for config in plan}
    keys = {_text(config): key for key, config in wanted.items()}
    found: dict[str, FinishedRun] = {}
    for folder in run_folders(runs_root()):
        if folder.name not in wanted and damage(folder) is None:
            values = json.loads((folder / "config.json").read_text())
            values.pop("key")
            key = keys.get(_whole(json.dumps(values)) or "")
            if key is not None and not (runs_root() / key).exists() and _has_todays_data(folder, wanted[key]):
                run = FinishedRun(folder.name, wanted[key], folder)
                found[key] = max(run, found.get(key, run), key=lambda one: one.started)
    return list(found.values())


def _has_todays_data(folder: Path, config: RunConfig) -> bool:
    made = reasons.recorded(folder)
    return made is not None and made["data"] == data_checksum(config.resolved_problem.dataset)


def _study(profile: str, study: str, several: Sequence[Recorded], sample: int) -> int:
    """Repeat some runs; if all agree, keep the results of the study. Returns an exit code as `main`."""
    chosen = choose(several, sample)
    launcher.load_data([one.config for one in chosen])
    with progress_bar(f"{study}: first steps of {len(chosen)} runs") as show:
        for place, one in enumerate(chosen):
            show(place, len(chosen), one.config.name)
            found = difference(one)
            if found is not None:
                log.info(f"{study}: {one.config.name}: {found}. The results of this study are out of date.")
                return DIFFERENT
        show(len(chosen), len(chosen), "")
    same = all(environment(one.config) == one.environment for one in chosen)
    return _keep(profile, study, ", bit by bit" if same else " to within what rounding changes")


def choose(several: Sequence[Recorded], sample: int) -> list[Recorded]:
    """A reproducible sample of runs: one of each optimizer and commit, and more up to `sample`."""
    mixed = sorted(several, key=lambda one: one.config.model_dump_json())
    random.Random(0).shuffle(mixed)
    first: dict[tuple[str, str | None], Recorded] = {}
    for one in mixed:
        first.setdefault((one.config.optimizer, one.commit), one)
    others = [one for one in mixed if one is not first[one.config.optimizer, one.commit]]
    return [*first.values(), *others][: max(sample, len(first))]


def difference(one: Recorded) -> str | None:
    """A description of the first difference between today's and the recorded steps; None if they agree.

    They agree with the same bits, or to within `TOLERANCES` where rounding may differ.
    """
    torch.set_num_threads(int(one.environment["threads"]))
    today = repeat(one.config)
    found = _difference(one.head, today, list(one.head), itertools.repeat(0.0))
    if found is None or environment(one.config) == one.environment:
        return found
    return _difference(one.head, today, SERIES, TOLERANCES)


def _difference(then: Head, now: Head, names: Sequence[str], allowed: Iterable[float]) -> str | None:
    for name in names:
        rows = zip(then[name], now.get(name, []), allowed, strict=False)
        for step, (old, new, tolerance) in enumerate(rows):
            if not _equal(old, new, tolerance):
                what = "line" if "/" in name else "step"
                return f"{name} of {what} {step} was {old}, with today's code it is {new}"
        if len(then[name]) != len(now.get(name, [])):
            return f"{name} had {len(then[name])} rows, with today's code {len(now.get(name, []))}"
    return None


def _equal(then: Any, now: Any, tolerance: float) -> bool:
    first, second = np.asarray(then, float), np.asarray(now, float)
    if first.shape != second.shape:
        return False
    return np.allclose(first, second, rtol=tolerance, atol=0.0, equal_nan=True)


class Beginning(Record):
    """Records the trace of the first steps.

    Attributes:
        arrays: As the run's trace would have them.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def after_step(self, state: Callable[[], State], /) -> None:
        """End the run after the last step that is compared."""
        now = state()
        if now["step"] < fingerprints.STEPS:
            return
        self.arrays = {name: values[: now["step"]].cpu().numpy() for name, values in now["trace"].items()}
        notes = now["notes"]
        for name in notes[0] if notes else ():
            self.arrays[f"lines/{name}"] = padded([line[name] for line in notes])
        raise Enough

    def array(self, name: str, values: np.ndarray) -> None:
        """The whole trace of a run that is shorter."""
        self.arrays[name] = values


def repeat(config: RunConfig) -> Head:
    """Execute the first steps of a run."""
    record = Beginning()
    with suppress(Enough):
        get_study(config.study).run(config, record)
    return fingerprints.head(record.arrays)


def _keep(profile: str, study: str, how: str) -> int:
    """Give the runs of earlier code today's keys; KEPT if all results of the study are there."""
    plan = planned(profile, study)
    for run in earlier(plan):
        run_directory.rename(run.directory, run_key(run.config))
    finished = find_finished(plan)
    if len(finished) == len(plan):
        tables.write(study, profile, finished)
    elif not _tables_are_whole(profile, study, plan):
        log.info(
            f"{study}: agrees{how}, but is not kept, as only {len(finished)} of {len(plan)} runs are finished"
        )
        return NOT_FINISHED
    log.info(f"{study}: agrees{how}; its results count as up to date")
    return KEPT


def _tables_are_whole(profile: str, study: str, plan: Sequence[RunConfig]) -> bool:
    """Whether the tables contain every run of the plan and were written by today's code."""
    if not (tables.folder(profile, study) / "traces.csv").is_file():
        return False
    code = set(tables.read(profile, study, "traces")["tables_code"])
    wanted = pd.DataFrame([identity(FinishedRun("", config, Path())) for config in plan]).astype(str)
    there = tables.read(profile, study, "times")[wanted.columns].astype(str)
    rows = [sorted(table.itertuples(index=False, name=None)) for table in (wanted, there)]
    return code == {fingerprints.tables_code(tables.module_of(study))} and rows[0] == rows[1]


def _commit(profile: str, studies: Sequence[str]) -> None:
    """Tell DVC that the results of studies are up to date."""
    if studies:
        planning.write_digests(profile)
        for study in studies:
            planning.write_parts(profile, study)
        pipeline = Pipeline(profile)
        pipeline.keep("plan", *pipeline.stages(studies))
