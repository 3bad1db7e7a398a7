"""profiles/<profile>.yaml -> the runs of each study, or those that match a pattern.

A profile has one section per study. A section may also be a list of sections, such as one per data set, whose runs all
belong to the study. Some runs depend on hyper-parameters that others select: they are planned once those are finished.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common import code_digest, extensions, torch_compiler
from experiments.common.errors import UserError, nearest
from experiments.common.paths import write_whole
from experiments.common.profiles import load_extensions, parts, profile_path, require_plain, sections
from experiments.data.dataset import checksum
from experiments.results import tables
from experiments.results.tables.common import identity
from experiments.results.tables.selection import COLUMNS, selected
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.key import key_without_data, run_key
from experiments.studies.base import Choice, get_study
from experiments.studies.registry import STUDIES
from experiments.training.config import RunConfig, Strict

torch_compiler.leave_out()

TABLES_CODE = tuple(
    f"experiments.results.tables.{name}" for name in ("common", "files", "fingerprints", "selection")
)
"""Modules that all tables depend on."""

Outcomes = Callable[[Sequence[RunConfig]], pd.DataFrame]
"""Results of the finished ones among some runs, one row each, as `results.tables.selection` takes them."""


@dataclass(frozen=True)
class Plan:
    """Runs of a study.

    Attributes:
        runs: Runs that can be executed now.
        awaited: Runs that follow, with placeholders for the hyper-parameters that `runs` will select.
    """

    runs: list[RunConfig]
    awaited: list[RunConfig]

    @property
    def every(self) -> list[RunConfig]:
        """All of them."""
        return self.runs + self.awaited


def load_profile(name: str) -> dict[str, list[Strict]]:
    """The sections of a profile: one or more for each study.

    Raises:
        UserError: For an unknown profile, study or key, or a value that is not allowed.
    """
    path = profile_path(name)
    where = f"{path.parent.name}/{path.name}"
    load_extensions(name)
    return {study: _sections(where, study, values) for study, values in sections(name).items()}


def _sections(where: str, study: str, values: Any) -> list[Strict]:
    if study not in STUDIES:
        raise UserError(f"{where}: there is no study {study!r}; {nearest(study, STUDIES)}")
    require_plain("study", study)
    kind, title = get_study(study).settings, f"{where}, section {study}"
    if isinstance(values, list) and values:
        return [kind.read(part, f"{title}, part {number}") for number, part in enumerate(values, 1)]
    return [kind.read(values, title)]


def outcomes(finished: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run."""
    rows = [identity(run) | {name: run.result[name] for name in COLUMNS} for run in finished]
    return pd.DataFrame(rows, columns=["problem", "method", "setting", "seed", "phase", *COLUMNS])


def _finished_today(configs: Sequence[RunConfig]) -> pd.DataFrame:
    return outcomes(find_finished(configs))


def plan(
    profile: str,
    study: str,
    known: Outcomes = _finished_today,
    part: int | None = None,
    how: Mapping[str, Any] | None = None,
) -> Plan:
    """All runs of a study in a profile, checked before anything is launched.

    Args:
        profile: Name of the profile.
        study: Name of the study.
        known: Returns the results of finished runs, by which hyper-parameters are selected.
        part: Number of one section, from 1, if the study has a list of them; None: all.
        how: Fields of all runs that no profile has: threads and instruction_set.

    Raises:
        UserError: As `load_profile`; if the profile lacks the study or the part; and if the same run is planned twice.
    """
    known_sections = load_profile(profile)
    if study not in known_sections:
        raise UserError(f"profile {profile!r} has no section {study!r}; {nearest(study, known_sections)}")
    chosen = known_sections[study]
    if part is not None and not 1 <= part <= len(chosen):
        raise UserError(
            f"part is {part}; section {study} of profile {profile!r} has parts 1 to {len(chosen)}"
        )
    chosen = chosen if part is None else [chosen[part - 1]]
    planned = [_plan_section(study, section, known, how or {}) for section in chosen]
    whole = Plan(
        [config for one in planned for config in one.runs],
        [config for one in planned for config in one.awaited],
    )
    seen: set[str] = set()
    for config in whole.every:
        same = config.model_dump_json(exclude={"extensions"})  # as in the key of the run, which takes longer
        if same in seen:
            raise UserError(f"profile {profile!r}, section {study}: the run {config.name!r} occurs twice")
        seen.add(same)
    return whole


def _plan_section(name: str, section: Strict, known: Outcomes, how: Mapping[str, Any]) -> Plan:
    study = get_study(name)

    def further(choice: Choice) -> list[RunConfig]:
        return [config.model_copy(update=how) for config in study.further(section, choice)]

    wanted = study.plan(section)
    if not isinstance(wanted, list) or not all(isinstance(one, RunConfig) for one in wanted):
        raise UserError(f"study {name!r}: its plan returned {wanted!r:.80}; it must be a list of runs")
    first = [config.model_copy(update=how) for config in wanted]
    awaited = further(_most(first))
    choice = _choice(first, known(first)) if awaited else None
    return Plan(first, awaited) if choice is None else Plan(first + further(choice), [])


MOST = 2
"""So many settings of a method can be selected: one by training loss, one by accuracy or loss on validation data."""


def _most(first: Sequence[RunConfig]) -> Choice:
    """The largest possible selection: a different configuration for each criterion."""
    most: Choice = {}
    for config in first:
        chosen = most.setdefault((config.problem, config.method), [])
        if len(chosen) < MOST and config.settings not in chosen:
            chosen.append(config.settings)
    return most


def _choice(first: Sequence[RunConfig], rows: pd.DataFrame) -> Choice | None:
    """The selected hyper-parameters of each problem and method; None if any of the runs is not finished."""
    if len(rows) < len(first):
        return None
    wanted = pd.DataFrame([identity(FinishedRun("", config, Path())) for config in first])
    there = wanted.merge(rows, on=list(wanted.columns))
    if len(there) < len(wanted):
        return None
    settings = {
        (config.problem, config.method, name): config.settings
        for config, name in zip(first, wanted["setting"], strict=True)
    }
    return {
        (problem, method): [settings[problem, method, name] for name in names]
        for (problem, method), names in selected(there).items()
    }


def write_digests(profile: str) -> Path:
    """Write results/<profile>/plan.json: what the tables of each study depend on. DVC compares these numbers.

    Code that no run of the profile uses, such as another optimizer, changes none of them.
    """
    return write_whole(tables.verdicts(profile).with_name("plan.json"), _digests(profile))


def _digests(profile: str) -> str:
    return json.dumps({study: digest(profile, study) for study in load_profile(profile)}, indent=2) + "\n"


def has_other_digests(profile: str) -> bool:
    """Whether plan.json is outdated; DVC does not notice changes of data and packages."""
    path = tables.verdicts(profile).with_name("plan.json")
    return not path.is_file() or path.read_bytes() != _digests(profile).encode()


def write_parts(
    profile: str, study: str, only: int | None = None, how: Mapping[str, Any] | None = None
) -> None:
    """Write results/<profile>/parts/<study>/<part>.txt, the keys of the runs of each part, or of one, for DVC."""
    for part in range(1, parts(load_profile(profile)).get(study, 0) + 1):
        if only in (None, part):
            keys = [run_key(config) for config in plan(profile, study, part=part, how=how).runs]
            path = tables.verdicts(profile).with_name("parts") / study / f"{part}.txt"
            write_whole(path, "".join(f"{key}\n" for key in keys))


def digest(profile: str, study: str) -> str:
    """Hash of the keys of a study's runs, further ones with any setting, of its data, and of the code of its tables."""
    configs = plan(profile, study, lambda _: outcomes([])).every
    keys = sorted(key_without_data(config) for config in configs)
    code = code_digest.digest(*TABLES_CODE, tables.module_of(study))
    datasets = _data(profile, study, {config.problem: config.resolved_problem.dataset for config in configs})
    own = [code_digest.digest(root) for root in extensions.roots({"TABLES": study})]
    return hashlib.sha256(" ".join([*keys, code, *own, *datasets]).encode()).hexdigest()[:16]


def _data(profile: str, study: str, datasets: Mapping[str, str]) -> list[str]:
    """Checksums of the data of a study's problems: of the data on this machine, else as recorded with its tables."""
    path = tables.folder(profile, study) / "provenance.csv"
    made = tables.load(path, profile) if path.is_file() else pd.DataFrame(columns=["problem", "data_sha256"])
    recorded = dict(zip(made["problem"], made["data_sha256"], strict=True))
    return [
        f"{problem} {checksum(name) or recorded.get(problem)}" for problem, name in sorted(datasets.items())
    ]


def select(configs: Sequence[RunConfig], pattern: str) -> list[RunConfig]:
    """The runs that match a pattern such as `cifar10-*,pal,seed=0`.

    A run matches if each word is its problem, its method, its optimizer or its "seed=N"; * matches anything.

    Raises:
        UserError: If the pattern is empty, if no run matches one of its words (with similar names), and if no run
            matches all words.
    """
    words = [word.strip() for word in pattern.split(",") if word.strip()]
    if not words:
        raise UserError(
            "only: the pattern is empty; it must name a problem, a method, an optimizer or seed=N"
        )
    known = list(dict.fromkeys(label for config in configs for label in _labels(config)))
    for word in words:
        if not any(fnmatchcase(label, word) for label in known):
            raise UserError(
                f"only: no run has the problem, method, optimizer or seed {word!r}; {nearest(word, known)}"
            )
    chosen = [
        config
        for config in configs
        if all(any(fnmatchcase(label, word) for label in _labels(config)) for word in words)
    ]
    if not chosen:
        raise UserError(f"only: no run matches all words of {pattern!r}")
    return chosen


def _labels(config: RunConfig) -> tuple[str, ...]:
    """The names with which words are compared."""
    return config.problem, config.method, config.optimizer, f"seed={config.seed}"
