"""What the files of tables must contain: rows as long as the header, the columns of their table, and numbers in these.

A table may have been edited by hand, merged, copied in part or written by other code. What is wrong then is named with
line and column before anything is computed from it.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.results.columns import explain

RUN = "problem method setting seed"
RESULTS = (
    "status final_train_loss final_data_loss final_val_loss final_val_accuracy final_val_accuracy_reestimated"
)
RESULTS += " test_accuracy test_accuracy_reestimated normal_fraction clipped_fraction"
RESULTS += " uninformative_fraction median_step"
RUNS = f"{RUN} phase steps {RESULTS} test_loss key"
CURVES = f"{RUN} phase schedule step train_loss data_loss learning_rate key"
BEST = (
    f"{RUN.removesuffix(' seed')} at_edge n train_loss_mean train_loss_sd test_accuracy_mean test_accuracy_sd"
)
RANKING = "problem criterion result rank method value behind_pal low high n"
ESTIMATE = (
    "id problem part mean low high n problems rule bound smallest detectable p words scale measure_unit"
)
ESTIMATE += " verdict reason"
LINE = "problem seed key at step"

COLUMNS = {
    "times": f"{RUN} seconds steps seconds_per_step key",
    "provenance": "problem commit instruction_set threads data_sha256 runs",
    "traces": "device device_type instruction_set threads torch tables_code config head",
    "missing": f"{RUN} state reason",
    **{f"{study}/runs": RUNS for study in ("benchmark", "exactness", "horizon", "interpolation", "rivals")},
    **{
        f"{study}/curves": CURVES
        for study in ("benchmark", "exactness", "horizon", "interpolation", "rivals")
    },
    **{f"{study}/best": f"criterion {BEST}" for study in ("benchmark", "rivals")},
    **{f"{study}/ranking": RANKING for study in ("benchmark", "rivals")},
    **{f"{study}/rates": f"{RUN} twentieth mean_rate key" for study in ("benchmark", "rivals")},
    "interpolation/best": BEST,
    "ablation/runs": f"part problem variant setting reference reference_setting dtype mu seed steps phase key {RESULTS}"
    " refused_fraction median_learning_rate",
    "ablation/differences": "problem steps seed reference mu variant setting quantity difference",
    "ablation/effects": "quantity problem reference variant mean low high n",
    "adaptation/runs": f"{RUNS} alpha median_angle median_ratio median_step_error median_improvement",
    "adaptation/lines": f"{LINE} alpha exact loss0 loss_step loss_exact angle case ratio step_error improvement",
    "adaptation/alphas": "problem training seed at exact loss0 loss_exact alpha step loss_step angle ratio step_error"
    " improvement",
    "batchsize/strategies": f"{LINE} size strategy distance improvement",
    "batchsize/summary": "problem size strategy lines improvement improvement_low improvement_high step step_low"
    " step_high distance distance_low distance_high fraction_of_optimum",
    "batchsize/smallest": "problem strategy seed smallest_size",
    "capacity/runs": "problem weights images seed key status final_data_loss final_train_loss peak_rate final_rate"
    " rate_ratio step batch full gap overshoot",
    "capacity/curves": "problem weights images seed key step learning_rate train_loss",
    "capacity/lines": f"{LINE} weights images batch full full_loss0 full_loss gap overshoot",
    "fullbatch/strategies": f"{LINE} momentum strategy distance improvement inside cumulative_step"
    " cumulative_distance cumulative_improvement",
    "fullbatch/summary": "problem momentum strategy lines improvement low high rank fraction_of_optimum distance step"
    " inside published",
    "fullbatch/points": "problem momentum seed key at distance batch full",
    "lines/lines": f"{LINE} part case mu loss0 loss_mu slope curvature exact loss_exact loss_step improvement_fraction"
    " log_ratio uninformative hull_distance fit_error minima linear_error quadratic_error pal_error learning_rate",
    "lines/points": "problem mu seed view key at distance loss",
    "lines/convexity": "problem mu seed radius lines convex_fraction",
    "lines/phases": "problem mu phase lines not_convex several_minima uninformative not_normal log_ratio"
    " improvement_fraction fit_error linear_error quadratic_error pal_error",
    "claims": f"{ESTIMATE.replace('problem ', '')} claim whose source test study unit post_hoc figure scope declared q",
    "claims/problems": f"{ESTIMATE} sd error df slack supported contradicted",
    "claims/values": "id problem part seed value floor key reference_key obstacle",
    "power": "id problem n unit sd detectable smallest reason",
    "pilots": "problem measure sd n_seeds",
}
"""The columns that readers of a table count on, by study and name, or by the name that several studies have."""

FILLED = (
    "problem",
    "method",
    "seed",
    "id",
    "study",
    "unit",
    "verdict",
    "n",
    "strategy",
    "variant",
    "criterion",
)
FILLED += ("measure", "config", "head")
"""Columns without empty cells."""

MEASURED = ("words", "n")
"""Columns without empty cells where there is a verdict on what was measured."""

UNIQUE = {"claims": "id"}
"""The column that tells the rows of a table apart."""

CHOICES = {
    "verdict": ("supported", "contradicted", "undecided", "out of reach", "not measured"),
    "rule": ("above", "below", "within"),
    "criterion": ("training loss", "validation accuracy", "validation loss"),
}
"""Columns with few values."""

CONFLICT = re.compile(rb"^(<{7} |={7}\r?$|>{7} )", re.MULTILINE)
"""Lines that git writes into a file that it could not merge."""

LONGEST = 1 << 30
"""Characters of a cell: the first steps of a run are one."""


def name_of(path: Path) -> str:
    """The name of a table in `COLUMNS` and in docs/columns.csv, such as "lines/lines", "claims" or "claims/values"."""
    name = f"{path.parent.name}/{path.stem}"
    return (
        name
        if name in COLUMNS or path.stem not in ("claims", "power", "pilots", "pilots-runs")
        else path.stem
    )


def parse(content: bytes, name: str) -> pd.DataFrame:
    """The table of this name in the content of a file; raises ValueError that says what is wrong with it, and where.

    Tables of extensions may hold anything in any columns.
    """
    text = _text(content)
    header, lines = _shape(text)
    wanted = (COLUMNS.get(name) or COLUMNS.get(name.rpartition("/")[2], "")).split()
    _require_columns(header, wanted)
    types = {column: (explain(name, column) or {"type": "any"})["type"] for column in header}
    words = {column: str for column, kind in types.items() if kind in ("text", "JSON")}
    table = pd.read_csv(io.StringIO(text), dtype=words)  # pyright: ignore[reportArgumentType]
    for column, kind in types.items() if wanted else ():
        wrong = next(_wrong(table, column, kind, name), None)
        if wrong is not None:
            place, reason = wrong
            raise ValueError(f"line {lines[place]}, column {column!r}: {reason}")
        if kind in NUMBERS:
            table[column] = pd.to_numeric(table[column])
    return table


def _text(content: bytes) -> str:
    if found := CONFLICT.search(content):
        raise ValueError(f"line {_line(content, found.start())} is a conflict marker of git")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {_line(content, error.start)} is not UTF-8 text") from None
    if b"\0" in content:
        raise ValueError(f"line {_line(content, content.index(0))} contains NUL bytes")
    if not text.strip():
        raise ValueError("it is empty")
    if not text.endswith("\n"):
        raise ValueError(f"its last line, {_line(content, len(content))}, is cut off")
    return text


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _shape(text: str) -> tuple[list[str], list[int]]:
    """The header, and the line of each row."""
    csv.field_size_limit(min(LONGEST, sys.maxsize))
    rows = csv.reader(io.StringIO(text), strict=True)
    lines: list[int] = []
    try:
        header = next(rows)
        for row in rows:
            if row == header:
                raise ValueError(f"line {rows.line_num} is the header once more")
            if row and len(row) != len(header):
                raise ValueError(
                    f"line {rows.line_num} has {len(row)} cells, and the header has {len(header)}"
                )
            lines += [rows.line_num] if row else []
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num} is no CSV ({error})") from None
    return header, lines


def _require_columns(header: Sequence[str], wanted: Sequence[str]) -> None:
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise ValueError(f"it has two columns {twice!r}")
    absent = next((column for column in wanted if column not in header), None)
    if absent is not None:
        raise ValueError(
            f"it has no column {absent!r}: another version of the code wrote it, or it is damaged"
        )


def _wrong(table: pd.DataFrame, column: str, kind: str, name: str) -> Iterator[tuple[int, str]]:
    """The cells of a column that are not allowed: place of the row, and why."""
    cells = table[column]
    empty = cells.isna() & _is_needed(table, column)
    yield from ((int(place), "it is empty") for place in table.index[empty])
    if kind == "JSON":
        yield from _misfits(cells, lambda known: known.map(_is_json), "not valid JSON")
    if kind in NUMBERS and not FITTING[kind](cells):
        yield from _misfits(cells, lambda known: NUMBERS[kind](_numbers(known)), f"no {kind}")
    if kind == "yes/no":
        yield from _misfits(
            cells, lambda known: known.astype(str).isin(["True", "False"]), "neither True nor False"
        )
    if column in CHOICES:
        allowed = CHOICES[column]
        yield from _misfits(cells, lambda known: known.isin(allowed), f"none of {', '.join(allowed)}")
    if UNIQUE.get(name) == column:
        yield from _misfits(cells, lambda known: ~known.duplicated(), "there twice")


def _is_needed(table: pd.DataFrame, column: str) -> Any:
    """Whether cells of a column must not be empty."""
    if column in MEASURED and "verdict" in table:
        return table["verdict"] != "not measured"
    return column in FILLED


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells.astype(str), errors="coerce")


NUMBERS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "number": lambda numbers: numbers.notna(),
    "integer": lambda numbers: numbers.notna() & (numbers % 1 == 0),
}
"""Whether numbers, or NaN where there is none, are of a type."""

FITTING = {"number": pd.api.types.is_float_dtype, "integer": pd.api.types.is_integer_dtype}
"""Whether all cells are of a type as they were read."""


def _misfits(
    cells: pd.Series, fits: Callable[[pd.Series], pd.Series], what: str
) -> Iterator[tuple[int, str]]:
    """Filled cells that do not fit: place of the row, and what they are."""
    known = cells[cells.notna()]
    for place in known.index[~fits(known)]:
        yield int(place), f"{str(cells[place])[:40]!r} is {what}"
