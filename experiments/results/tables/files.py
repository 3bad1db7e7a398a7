"""Where tables are, and how they are read and written.

The same runs give the same bytes: rows are sorted, numbers have nine digits, and measured times are in a separate table
(times.csv), the only one that differs when the same runs are repeated.
"""

from pathlib import Path

import pandas as pd

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, write_whole
from experiments.results.tables import schema


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


MAKERS = {"pilots": "python -m experiments pilots --profile {}", "power": "make power PROFILE={}"}
"""The commands that make single tables; all others are made by `make reproduce`."""


def load(path: Path, profile: str = "") -> pd.DataFrame:
    """The table in a file; raises UserError if it does not exist or is not the table that it should be."""
    maker = MAKERS.get(path.stem, "make reproduce PROFILE={}").format(profile or "NAME")
    if not path.is_file():
        raise UserError(f"{path} does not exist; `{maker}` makes it")
    try:
        return schema.parse(path.read_bytes(), schema.name_of(path))
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: {error}; restore it from git or remove it, and `{maker}` makes it again"
        ) from None


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table by replacing the file as a whole."""
    return write_whole(path, text(table))


def text(table: pd.DataFrame) -> str:
    """A table as its file has it."""
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
