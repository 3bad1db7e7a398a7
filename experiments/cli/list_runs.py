"""Finished and failed runs as a table: `python -m experiments runs`."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from types import NoneType
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from experiments.common.errors import UserError, nearest
from experiments.common.paths import runs_root
from experiments.runs.listing import MADE, WHO, Row, cell
from experiments.runs.run_packs import where_from

RESULTS = ("final_train_loss", "final_val_accuracy", "test_accuracy", "seconds")
"""Columns that are always shown, after those that identify the run."""

KEY_WIDTH, CAPTION_WIDTH = 16, 72

SHORT = {"train_loss": "final_train_loss", "val_accuracy": "final_val_accuracy", "val_loss": "final_val_loss"}
"""Short names of results."""

NAMES = {field: name for name, field in SHORT.items()}


def choose(table: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """Rows that have all FIELD=VALUE; * in a value matches anything, and numbers are compared as numbers.

    Raises:
        UserError: For words that are not conditions, and fields that no run has.
    """
    chosen = list(table)
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise UserError(f"{condition!r} is not a condition; it must be FIELD=VALUE, such as seed=0")
        field = named(table, name)
        chosen = [row for row in chosen if field in row and _fits(row[field], value)]
    return chosen


def _fits(found: Any, wanted: str) -> bool:
    if fnmatchcase(_text(found), wanted):
        return True
    try:
        return isinstance(found, int | float) and found == float(wanted)
    except ValueError:  # a pattern or a word
        return False


def rows_where(tables: Sequence[pd.DataFrame], conditions: Iterable[str]) -> list[pd.DataFrame]:
    """The rows of tables that fulfil all conditions (see `choose`); a table without the field keeps its rows.

    Raises:
        UserError: If a condition concerns no table, or no row fulfils them.
    """
    chosen = list(tables)
    for condition in conditions:
        name = condition.partition("=")[0]
        having = [place for place, table in enumerate(tables) if name in table]
        if not having:
            choose(
                [{str(field): None for table in tables for field in table}], [condition]
            )  # says what is wrong
        for place in having:
            chosen[place] = _rows_where(chosen[place], condition)
        if all(chosen[place].empty for place in having):
            raise UserError(f"no row has {condition}")
    return chosen


def _rows_where(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    rows = ({str(name): value for name, value in row.items()} for row in table.to_dict("records"))
    places = [row | {"": place} for place, row in enumerate(rows)]
    return table.iloc[[row[""] for row in choose(places, [condition])]]


def named(table: Sequence[Row], name: str) -> str:
    """The field that `name` stands for; raises UserError with the nearest one if no run has it."""
    known = dict.fromkeys(field for row in table for field in row)
    field = SHORT.get(name, name)
    if table and field not in known:
        raise UserError(f"there is no field {name!r}; {nearest(name, [*known, *SHORT])}")
    return field


def arrange(table: Sequence[Row], name: str) -> list[Row]:
    """Sorted by a field: accuracies from the top, everything else from the bottom; runs without it come last."""
    field = named(table, name)
    there = [row for row in table if row.get(field) is not None]
    words = any(isinstance(row[field], str) for row in there)
    there.sort(key=lambda row: _text(row[field]) if words else row[field], reverse="accuracy" in field)
    return there + [row for row in table if row.get(field) is None]


def as_csv(table: Sequence[Row]) -> str:
    """All fields of the runs; structures are JSON."""
    return pd.DataFrame([{name: cell(row[name]) for name in row} for row in table], dtype=object).to_csv(
        index=False
    )


def as_table(table: Sequence[Row], limit: int) -> Table:
    """The first runs, each with its key, the fields that differ between runs, and its results."""
    differing = [field for field in _differing(table) if field not in (*WHO, *RESULTS)]
    results = [field for field in RESULTS if any(field in row for row in table)]
    shown = Table(
        Column("run", min_width=KEY_WIDTH, overflow="fold"),
        *(Column(NAMES.get(field, field), justify="right", no_wrap=True) for field in results),
        title=Text(f"{min(limit, len(table))} of {len(table)} runs in {runs_root()}"),
        caption=None if table else Text(where_from("runs")),
        min_width=None if table else CAPTION_WIDTH,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    for row in table[:limit]:
        words = Text(f"{row['key']}\n{_description(row, differing)}")
        shown.add_row(words, *(Text(_text(row.get(name))) for name in results))
    return shown


def _description(row: Row, fields: Sequence[str]) -> str:
    """Status unless completed, what the run is, and the given fields as the words that select it."""
    status = [row["status"]] if row["status"] != "completed" else []
    known = [name for name in ("seed", *fields) if not isinstance(row.get(name), dict | NoneType)]
    same = "optimizer" if row.get("optimizer") == row.get("method") else None
    values = [f"{name.removeprefix('settings.')}={_text(row[name])}" for name in known if name != same]
    return " ".join([*status, *(_text(row.get(name)) for name in ("study", "problem", "method")), *values])


NOISE = ("started", "final_val_loss", "min_train_loss", "best_val_accuracy", "test_loss", "lines")
"""Fields that always differ and tell no runs apart."""


def _differing(table: Sequence[Row]) -> list[str]:
    every = dict.fromkeys(field for row in table for field in row)
    fields = [field for field in every if field not in NOISE and not field.startswith(MADE)]
    return [field for field in fields if len({_text(row.get(field)) for row in table}) > 1]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
