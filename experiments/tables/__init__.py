"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv.

The same runs give the same bytes: rows are sorted, numbers have nine digits, and measured times have a table of their
own (times.csv), the only one that differs between two runs of the same thing.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from experiments import files, traces
from experiments.errors import UserError
from experiments.source import REPOSITORY
from experiments.tables.common import Tables, provenance, times

if TYPE_CHECKING:  # notebooks read tables, and need not wait for torch
    from experiments.runs import FinishedRun


def folder(profile: str, study: str, root: Path = REPOSITORY) -> Path:
    """Where a study's tables are."""
    return root / "results" / profile / study


def write(study: str, profile: str, finished: Sequence["FinishedRun"], root: Path = REPOSITORY) -> list[Path]:
    """Make and write all tables of a study; each file is replaced whole."""
    tables = made(study, finished) | {
        "times": times(finished),
        "provenance": provenance(finished),
        "traces": traces.table(study, finished),
    }
    place = folder(profile, study, root)
    return [replace(table, place / f"{name}.csv") for name, table in sorted(tables.items())]


def read(profile: str, study: str, name: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """One table; raises UserError if it has not been made."""
    path = folder(profile, study, root) / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is not there; `make reproduce PROFILE={profile}` makes it")
    return pd.read_csv(path, dtype={"key": str, "setting": str, "commit": str}, keep_default_na=True)


def verdicts(profile: str, root: Path = REPOSITORY) -> Path:
    """Where a profile's verdicts are."""
    return root / "results" / profile / "claims.csv"


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table, whole or not at all."""
    return files.write_whole(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def made(study: str, finished: Sequence["FinishedRun"]) -> Tables:
    """The tables of a study by name: what the function of its name in the module of its name returns."""
    return getattr(importlib.import_module(f"experiments.tables.{study}"), study)(finished)
