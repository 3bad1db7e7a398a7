"""What the tables of a study lack: results/<profile>/<study>/missing.csv, which exists only if something does."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from experiments.common.paths import REPOSITORY, runs_root
from experiments.results.tables import files

if TYPE_CHECKING:
    from experiments.training.config import RunConfig  # notebooks read tables and need not import torch

NAME = "missing"

COLUMNS = ["problem", "method", "setting", "seed", "state", "reason"]


def write(
    profile: str,
    study: str,
    left: Mapping[str, "RunConfig"],
    reasons: Mapping[str, str],
    root: Path = REPOSITORY,
) -> None:
    """Name the runs that the tables lack; without any, remove the file.

    Args:
        profile: Name of the profile.
        study: Name of the study.
        left: The runs that are not finished, by key.
        reasons: Why runs failed, by key.
        root: Folder that contains results/.
    """
    path = _path(profile, study, root)
    if not left:
        path.unlink(missing_ok=True)
        return
    rows = [_row(key, config, reasons) for key, config in left.items()]
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:4], kind="stable")
    files.replace(table, path)


def _row(key: str, config: "RunConfig", reasons: Mapping[str, str]) -> list[object]:
    failed = key in reasons or (runs_root() / ".failed" / key).is_dir()
    state = "failed" if failed else "not finished"
    return [config.problem, config.method, config.setting, config.seed, state, reasons.get(key, "")]


def read(profile: str, study: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """The runs that the tables of a study lack, one row each; empty if nothing is missing."""
    path = _path(profile, study, root)
    return files.load(path, profile) if path.is_file() else pd.DataFrame(columns=COLUMNS)


def words(profile: str, study: str, root: Path = REPOSITORY) -> str:
    """How many runs are missing; empty if none."""
    table = read(profile, study, root)
    failed = int((table["state"] == "failed").sum())
    return (
        f"{len(table)} runs are missing" + (f", {failed} of them failed" if failed else "")
        if len(table)
        else ""
    )


def would_lose(profile: str, study: str, left: Iterable["RunConfig"], root: Path = REPOSITORY) -> bool:
    """Whether new tables would lack runs that the present ones have, which an earlier call or a commit made whole."""
    times = files.folder(profile, study, root) / "times.csv"
    if _path(profile, study, root).is_file() or not times.is_file():
        return False
    there = files.read(profile, study, "times", root)
    known = set(
        zip(there["problem"], there["method"], there["setting"].fillna(""), there["seed"], strict=True)
    )
    return any((one.problem, one.method, one.setting, one.seed) in known for one in left)


def _path(profile: str, study: str, root: Path) -> Path:
    return files.folder(profile, study, root) / f"{NAME}.csv"
