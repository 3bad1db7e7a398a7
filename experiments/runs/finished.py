"""Finished runs, read back from their directories."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.paths import remove, runs_root
from experiments.runs.integrity import is_whole, run_folders
from experiments.runs.key import run_key
from experiments.training.config import RunConfig


@dataclass(frozen=True)
class FinishedRun:
    """One finished run.

    Attributes:
        key: Name of its directory.
        config: What it was.
        directory: Where it is.
    """

    key: str
    config: RunConfig
    directory: Path

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the study's `run` returned."""
        return _json(self.directory / "run.json")["result"]

    @cached_property
    def info(self) -> dict[str, Any]:
        """Provenance and seconds."""
        return _json(self.directory / "info.json")

    @property
    def started(self) -> str:
        """When its last attempt began: times as ISO text sort by their moments."""
        return _json(self.directory / "run.json")["start_time"]

    @property
    def seconds(self) -> float:
        """Wall time of the run; of attempts that ended early, up to their last checkpoint."""
        return float(self.info["seconds"])

    @property
    def step_seconds(self) -> float:
        """Wall time of its steps, without evaluations, measurements and checkpoints."""
        return float(self.info["step_seconds"])

    @property
    def trace(self) -> "Trace":
        """Arrays by name."""
        return Trace(self.directory / "trace.npz")


class Trace(Mapping[str, np.ndarray]):
    """The arrays of a run, each read when asked for and not kept: thousands of runs fit into memory.

    Args:
        path: The file of the arrays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> np.ndarray:
        """One array; raises KeyError if the run has none of that name."""
        with np.load(self._path) as arrays:
            return arrays[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        with np.load(self._path) as arrays:
            return iter(arrays.files)

    def __len__(self) -> int:
        """Number of arrays."""
        return len(list(iter(self)))


def find_finished(configs: Iterable[RunConfig]) -> list[FinishedRun]:
    """The finished ones of these runs, in the same order; damaged ones are reported and count as unfinished."""
    pairs = [(run_key(config), config) for config in configs]
    there = finished_keys()
    found = [FinishedRun(key, config, runs_root() / key) for key, config in pairs if key in there]
    return [run for run in found if is_whole(run.directory, run.config)]


def divided(configs: Iterable[RunConfig]) -> tuple[list[FinishedRun], dict[str, RunConfig]]:
    """The finished ones of these runs, and by key those that are left."""
    wanted = {run_key(config): config for config in configs}
    finished = find_finished(wanted.values())
    there = {run.key for run in finished}
    return finished, {key: config for key, config in wanted.items() if key not in there}


def finished_keys() -> set[str]:
    """The keys of all runs that have been finished."""
    return {folder.name for folder in run_folders(runs_root())}


def delete_runs(several: Iterable[FinishedRun]) -> None:
    """Delete finished runs, and remains of earlier deletions; a directory named by its key is complete or absent."""
    place = runs_root() / ".deleted"
    for run in several:
        place.mkdir(exist_ok=True)
        remove(place / run.key)
        run.directory.rename(place / run.key)
    for left in place.glob("*"):
        remove(left)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
