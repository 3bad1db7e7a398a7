"""Finished and failed runs as flat rows. Reads three small files of each, and no arrays."""

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from experiments.common.paths import regular, runs_root
from experiments.runs.integrity import damage, run_folders

Row = dict[str, Any]

MADE = "provenance."
"""Before the names of fields that say how a run was made: commit, device, threads and so on."""

WHO = ("key", "study", "problem", "method", "seed", "status")
"""Columns that say which run it is."""


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
    """What a file of a run says; nothing if it is missing, or torn because the attempt died while Sacred wrote it."""
    try:
        return _fields(json.loads(regular(path).read_bytes()))
    except (OSError, ValueError):
        return {}


def _fields(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def cell(value: Any) -> Any:
    """What a table has in one field: structures are JSON."""
    return json.dumps(value) if isinstance(value, dict | list) else value
