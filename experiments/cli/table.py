"""One table for a paper."""

from collections.abc import Sequence

from experiments.cli.list_runs import rows_where
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.reports.latex import latex
from experiments.results import tables
from experiments.results.export import table_names


def main(name: str, profile: str, conditions: Sequence[str], columns: Sequence[str]) -> str:
    """A table of a profile as LaTeX.

    Args:
        name: Study and table, such as "benchmark/best", or "claims".
        profile: The profile.
        conditions: FIELD=VALUE that all rows fulfil that are shown.
        columns: Which columns; all if empty.

    Raises:
        UserError: If there is no such table, row or column.
    """
    known = table_names(profile, REPOSITORY)
    if name not in known:
        what = f"known are {', '.join(known)}" if known else f"`make reproduce PROFILE={profile}` makes them"
        raise UserError(f"profile {profile} has no table {name!r}; {what}")
    (table,) = rows_where(
        [tables.load(REPOSITORY / "results" / profile / f"{name}.csv", profile)], conditions
    )
    return latex(table, name, columns)
