"""Where tables are, and how they are read and written.

The same runs give the same bytes: rows are sorted, numbers have nine digits, and measured times are in a separate table
(times.csv), the only one that differs when the same runs are repeated.
"""

import io
import re
from pathlib import Path

import pandas as pd

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, write_whole


def folder(profile: str, study: str, root: Path = REPOSITORY) -> Path:
    """The folder of the tables of a study."""
    return root / "results" / profile / study


def read(profile: str, study: str, name: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """One table; raises UserError if it has not been produced or is not a table."""
    return load(folder(profile, study, root) / f"{name}.csv", profile)


def verdicts(profile: str, root: Path = REPOSITORY) -> Path:
    """The file of the verdicts of a profile."""
    return root / "results" / profile / "claims.csv"


def verdicts_of(profile: str, root: Path = REPOSITORY) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The claims of a profile with their verdicts, and the estimates behind them (see `claims.judge`).

    Raises:
        UserError: If they have not been made or are not tables.
    """
    path = verdicts(profile, root)
    return load(path, profile), load(path.with_suffix("") / "problems.csv", profile)


TEXT = dict.fromkeys(("key", "setting", "commit", "scale", "part", "reason", "post_hoc"), str)
"""Columns that are text even where they look like numbers."""

CONFLICT = re.compile(rb"^(<{7} |={7}\r?$|>{7} )", re.MULTILINE)
"""Lines that git writes into a file that it could not merge."""


def load(path: Path, profile: str = "") -> pd.DataFrame:
    """The table in a file; raises UserError if it does not exist or is not a table."""
    produces_it = f"`make reproduce{profile and ' PROFILE='}{profile}` produces it"
    if not path.is_file():
        raise UserError(f"{path} does not exist; {produces_it}")
    content = path.read_bytes()
    if CONFLICT.search(content):
        raise UserError(
            f"{path} contains conflict markers of git; restore or remove it, and {produces_it} again"
        )
    try:
        return pd.read_csv(io.BytesIO(content), dtype=TEXT, keep_default_na=True)
    except ValueError as error:  # empty, not UTF-8, or with rows of different lengths
        raise UserError(f"{path} is not a table ({error}); remove it, and {produces_it} again") from None


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table by replacing the file as a whole."""
    return write_whole(path, text(table))


def text(table: pd.DataFrame) -> str:
    """A table as its file has it."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
