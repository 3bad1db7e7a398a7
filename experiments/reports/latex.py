"""Tables for papers: LaTeX (package booktabs), with means and their spread in one column."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.common.errors import UserError, nearest
from experiments.common.labels import label
from experiments.results.columns import explain

WITH_INTERVAL = ("behind_pal", "improvement", "mean")
"""The column that `low` and `high` belong to: the first that a table has."""

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}

SMALL, LARGE = 1e-3, 1e5
"""Numbers outside of this range are powers of ten."""


def latex(table: pd.DataFrame, name: str, columns: Sequence[str] = ()) -> str:
    """A tabular: X_mean and X_sd are the column X (mean ± standard deviation), as are a number and its interval.

    Spreads have two significant digits, and means as many decimals.

    Args:
        table: The table.
        name: Its name, such as "benchmark/best", by which units are known.
        columns: Which columns, in this order; all if empty.

    Raises:
        UserError: For a column that the table does not have.
    """
    cells = _cells(table)
    wanted = list(columns) or list(cells)
    for column in wanted:
        if column not in cells:
            raise UserError(f"the table {name} has no column {column!r}; {nearest(column, cells)}")
    shown = pd.DataFrame({_heading(name, column): cells[column] for column in wanted})
    left = "".join("l" if column in table and _is_text(table[column]) else "r" for column in wanted)
    return shown.to_latex(index=False, escape=False, column_format=left, na_rep="")


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _cells(table: pd.DataFrame) -> dict[str, list[str]]:
    """The columns as LaTeX, in the order of the table, with spreads in the column of their mean."""
    found: dict[str, list[str]] = {}
    for column in map(str, table.columns):
        base = column.removesuffix("_mean")
        ends = _interval(column, table)
        if column != base and f"{base}_sd" in table:
            pairs = zip(table[column], table[f"{base}_sd"], strict=True)
            found[base] = [_with_spread(mean, sd) for mean, sd in pairs]
        elif ends:
            rows = zip(table[column], table[ends[0]], table[ends[1]], strict=True)
            found[column] = [_with_interval(*row) for row in rows]
        elif not _belongs_to_another(column, table):
            found[column] = [_plain(column, value) for value in table[column]]
    return found


def _interval(column: str, table: pd.DataFrame) -> tuple[str, str] | None:
    """The columns with the ends of the interval of a column."""
    if f"{column}_low" in table and f"{column}_high" in table:
        return f"{column}_low", f"{column}_high"
    first = next((name for name in WITH_INTERVAL if name in table), None)
    return ("low", "high") if column == first and {"low", "high"} <= set(table) else None


def _belongs_to_another(column: str, table: pd.DataFrame) -> bool:
    """Whether a column is the spread or one end of another."""
    if column in ("low", "high"):
        return any(name in table for name in WITH_INTERVAL)
    base, _, ending = column.rpartition("_")
    return (ending == "sd" and f"{base}_mean" in table) or (ending in ("low", "high") and base in table)


def _with_spread(mean: float, spread: float) -> str:
    if not math.isfinite(mean):
        return ""
    if not math.isfinite(spread) or spread <= 0:
        return _number(mean)
    power = _power(mean)
    places = _places(spread / 10**power)
    numbers = rf"{mean / 10**power:.{places}f} \pm {spread / 10**power:.{places}f}"
    return f"${numbers}$" if power == 0 else rf"$({numbers}) \times 10^{{{power}}}$"


def _with_interval(value: float, low: float, high: float) -> str:
    if not all(map(math.isfinite, (value, low, high))) or high <= low:
        return _number(value)
    power = _power(max(abs(value), abs(low), abs(high)))
    places = _places((high - low) / 2 / 10**power)
    middle, *ends = (f"{number / 10**power:.{places}f}" for number in (value, low, high))
    words = f"{middle}\\ [{', '.join(ends)}]"
    return f"${words}$" if power == 0 else rf"${words} \times 10^{{{power}}}$"


def _power(number: float) -> int:
    """The power of ten that is written apart; 0 if the number needs none."""
    size = abs(number)
    return 0 if size == 0 or SMALL <= size < LARGE else math.floor(math.log10(size))


def _places(spread: float) -> int:
    """Decimals that show two significant digits of a spread."""
    return max(0, 1 - math.floor(math.log10(spread)))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    power = _power(value)
    digits = f"{value / 10**power:.4g}"
    return f"${digits}$" if power == 0 else rf"${digits} \times 10^{{{power}}}$"


def _plain(column: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(float(value))
    words = "" if pd.isna(value) else str(value)
    return _escaped(label(words) if column == "method" else words)


def _heading(name: str, column: str) -> str:
    """The name of a column with its unit."""
    known = explain(name, column) or explain(name, f"{column}_mean") or {"unit": ""}
    unit = f" ({known['unit']})" if known["unit"] else ""
    return _escaped(column.replace("_", " ") + unit)


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda found: SPECIAL[found[0]], text)
