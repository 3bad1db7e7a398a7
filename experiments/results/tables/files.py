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
    """One table; raises UserError if it has not been made."""
    path = folder(profile, study, root) / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is not there; `make reproduce PROFILE={profile}` makes it")
    return pd.read_csv(path, dtype={"key": str, "setting": str, "commit": str}, keep_default_na=True)


def verdicts(profile: str, root: Path = REPOSITORY) -> Path:
    """The file of the verdicts of a profile."""
    return root / "results" / profile / "claims.csv"


def verdicts_of(profile: str, root: Path = REPOSITORY) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The claims of a profile with their verdicts, and the estimates behind them (see `claims.judge`)."""
    path, text = verdicts(profile, root), {"scale": str, "part": str, "reason": str, "post_hoc": str}
    claims = pd.read_csv(path, dtype=text)
    estimates = path.with_suffix("") / "problems.csv"
    return claims, pd.read_csv(estimates, dtype=text)


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table by replacing the file as a whole."""
    return write_whole(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
