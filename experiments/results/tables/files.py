"""Where tables are, and how they are read and written.

The same runs give the same bytes: rows are sorted, numbers have nine digits, and measured times are in a separate table
(times.csv), the only one that differs when the same runs are repeated.
"""

from pathlib import Path

import pandas as pd

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, write_whole


def folder(profile: str, study: str, root: Path = REPOSITORY) -> Path:
    """The folder of the tables of a study."""
    return root / "results" / profile / study


def read(profile: str, study: str, name: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """One table; raises UserError if it has not been made or is no table."""
    return read_file(folder(profile, study, root) / f"{name}.csv", profile)


def verdicts(profile: str, root: Path = REPOSITORY) -> Path:
    """The file of the verdicts of a profile."""
    return root / "results" / profile / "claims.csv"


def verdicts_of(profile: str, root: Path = REPOSITORY) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The claims of a profile with their verdicts, and the estimates behind them (see `claims.judge`).

    Raises:
        UserError: If they have not been made or are no table.
    """
    path = verdicts(profile, root)
    return read_file(path, profile), read_file(path.with_suffix("") / "problems.csv", profile)


TEXT = dict.fromkeys(("key", "setting", "commit", "scale", "part", "reason", "post_hoc"), str)
"""Columns that are text even where they look like numbers."""


def read_file(path: Path, profile: str) -> pd.DataFrame:
    """A table of a profile from its file; raises UserError if it has not been made or is no table."""
    makes_it = f"`make reproduce PROFILE={profile}` makes it"
    if not path.is_file():
        raise UserError(f"{path} is not there; {makes_it}")
    try:
        return pd.read_csv(path, dtype=TEXT, keep_default_na=True)
    except ValueError as error:  # empty, no UTF-8, or with rows of different lengths
        raise UserError(f"{path} is no table ({error}); remove it, and {makes_it} again") from None


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table by replacing the file as a whole."""
    return write_whole(path, text(table))


def text(table: pd.DataFrame) -> str:
    """A table as its file has it."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
