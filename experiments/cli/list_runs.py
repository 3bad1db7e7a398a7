"""Finished and failed runs as a table: `python -m experiments runs`. Reads three small files of each, and no arrays."""

import json
from collections.abc import Container, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import NoneType
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from experiments.common.errors import UserError, nearest
from experiments.common.paths import regular, runs_root
from experiments.runs.integrity import damage, run_folders
from experiments.runs.run_packs import where_from

Row = dict[str, Any]

RESULTS = ("final_train_loss", "final_val_accuracy", "test_accuracy", "seconds")
"""Columns that are always shown, after those that identify the run."""

KEY_WIDTH, CAPTION_WIDTH = 16, 72

SHORT = {"train_loss": "final_train_loss", "val_accuracy": "final_val_accuracy", "val_loss": "final_val_loss"}
"""Short names of results."""

NAMES = {field: name for name, field in SHORT.items()}

MADE = "provenance."
"""Before the names of fields that say how a run was made: commit, device, threads and so on."""

WHO = ("key", "study", "problem", "method", "seed", "status")
"""Columns that identify a run."""


def rows(keys: Container[str] | None = None) -> list[Row]:
    """Every finished run, and every run whose last attempt failed: config, result, status, seconds and start, flat.

    Args:
        keys: Only runs of these keys.
    """
    finished = run_folders(runs_root())
    there = {path.name for path in finished}
    failed = [path for path in run_folders(runs_root() / ".failed") if path.name not in there]
    places = [
        *((path, damage(path) and "damaged") for path in finished),
        *((path, "failed") for path in failed),
    ]
    wanted = [place for place in places if keys is None or place[0].name in keys]
    return [row for path, wrong in wanted if (row := _row(path, wrong)) is not None]


def _row(folder: Path, wrong: str | None) -> Row | None:
    config, run = _json(folder / "config.json"), _json(folder / "run.json")
    if not config and not wrong:  # deleted just now
        return None
    settings = {f"settings.{name}": value for name, value in _fields(config.pop("settings", {})).items()}
    result = _fields(run.get("result"))
    outcome = {"key": folder.name, "status": wrong or result.get("status", "")}
    info = _json(folder / "info.json")
    times = {"seconds": info.get("seconds"), "started": run.get("start_time", "")}
    made = {f"{MADE}{name}": value for name, value in _fields(info.get("provenance")).items()}
    return {name: config.get(name) for name in WHO} | config | settings | result | outcome | times | made


def _json(path: Path) -> Row:
    """The content of a file of a run; empty if it is missing, or truncated because the process was killed."""
    try:
        return _fields(json.loads(regular(path).read_bytes()))
    except (OSError, ValueError):
        return {}


def _fields(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


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


def named(table: Sequence[Row], name: str) -> str:
    """The field that `name` stands for; raises UserError with the nearest one if no run has it."""
    known = dict.fromkeys(field for row in table for field in row)
    field = SHORT.get(name, name)
    if table and field not in known:
        raise UserError(f"no run has a field {name!r}; {nearest(name, [*known, *SHORT])}")
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
    return pd.DataFrame([{name: _cell(row[name]) for name in row} for row in table], dtype=object).to_csv(
        index=False
    )


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


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
