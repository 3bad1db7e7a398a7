"""What the columns of tables mean: docs/columns.csv explains every column of every table, with its type and unit."""

from fnmatch import fnmatchcase
from functools import cache

import pandas as pd

from experiments.common.paths import REPOSITORY

FILE = REPOSITORY / "docs" / "columns.csv"
"""Columns table and column, in which * stands for anything, type, unit and meaning; the first row that fits counts."""


@cache
def explain(table: str, column: str) -> dict[str, str] | None:
    """Type (text, number, integer, yes/no, JSON or any), unit and meaning of a column; None if it is not explained.

    Args:
        table: Such as "lines/convexity", "claims" or "runs" (all runs).
        column: Its name.
    """
    name = column.removeprefix("provenance.") if table == "runs" else column
    for row in _rows():
        if fnmatchcase(table, row["table"]) and (
            fnmatchcase(column, row["column"]) or fnmatchcase(name, row["column"])
        ):
            return {field: row[field] for field in ("type", "unit", "meaning")}
    return None


def dictionary(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The columns of these tables, with type, unit and meaning; "" where an extension has not explained its own."""
    unknown = {"type": "", "unit": "", "meaning": ""}
    return pd.DataFrame(
        [
            {"table": name, "column": column} | (explain(name, column) or unknown)
            for name, table in tables.items()
            for column in map(str, table.columns)
        ]
    )


@cache
def _rows() -> list[dict[str, str]]:
    return pd.read_csv(FILE, keep_default_na=False, dtype=str).to_dict("records")  # pyright: ignore[reportReturnType]
