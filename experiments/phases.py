"""Runs whose settings other runs decide: they are planned when those are finished.

A study that has such runs offers `further(settings, choice)` beside `plan`; `choice` is the setting of each competitor
that `tables.choice` takes from the runs of `plan`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import runs, studies
from experiments.config import RunConfig, Strict
from experiments.runs import FinishedRun
from experiments.tables.choice import COLUMNS, lowest_loss
from experiments.tables.common import identity

Choice = dict[str, dict[str, Any]]
"""The settings of each competitor, by its name."""

Outcomes = Callable[[Sequence[RunConfig]], pd.DataFrame]
"""What is known of some runs: one row, as `tables.choice` takes it, of each that is finished."""


@dataclass(frozen=True)
class Plan:
    """Runs of a study.

    Attributes:
        runs: Those that are known.
        awaited: Those that follow, with any setting, as long as others have not decided theirs.
    """

    runs: list[RunConfig]
    awaited: list[RunConfig]


def outcomes(finished: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run."""
    rows = [identity(run) | {name: run.result[name] for name in COLUMNS} for run in finished]
    return pd.DataFrame(rows, columns=["problem", "entry", "setting", "seed", *COLUMNS])


def finished(configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Outcomes of those of the runs that are finished today."""
    return outcomes(runs.finished(configs))


def plan(study: str, section: Strict, known: Outcomes) -> Plan:
    """The runs of one section of a profile."""
    module = studies.get(study)
    first = module.plan(section)
    further: Callable[[Strict, Choice], list[RunConfig]] = getattr(module, "further", lambda *_: [])
    awaited = further(section, {config.entry: config.settings for config in first})
    choice = _choice(first, known(first)) if awaited else None
    return Plan(first, awaited) if choice is None else Plan(first + further(section, choice), [])


def _choice(first: Sequence[RunConfig], rows: pd.DataFrame) -> Choice | None:
    """The setting of each competitor; None if any of the runs is not finished."""
    if len(rows) < len(first):
        return None
    wanted = pd.DataFrame([identity(FinishedRun("", config, Path())) for config in first])
    there = wanted.merge(rows, on=list(wanted.columns))
    if len(there) < len(wanted):
        return None
    settings = {
        (config.entry, name): config.settings for config, name in zip(first, wanted["setting"], strict=True)
    }
    chosen = lowest_loss(there)
    return {config.entry: settings[config.entry, chosen[config.entry]] for config in first}
