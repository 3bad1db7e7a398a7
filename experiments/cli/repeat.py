"""Execute a finished run again, and compare.

On a device of the same maker with the same instruction set, torch and code, every recorded number must have the same
bits. Otherwise rounding differs, which grows during a training: then the first steps must agree to within `TOLERANCES`,
and final values are shown beside each other.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.cli.run import launch_one
from experiments.cli.verify import SERIES, TOLERANCES
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, runs_root
from experiments.results.tables import fingerprints
from experiments.runs import reasons, run_packs, thinning
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.integrity import damage, run_folders
from experiments.runs.key import identity
from experiments.runs.mongo import number_of
from experiments.runs.provenance import rounding
from experiments.training.config import RunConfig


@dataclass(frozen=True)
class Comparison:
    """Two executions of a run.

    Attributes:
        results: Each result's name, old value, new value, and whether they are equal.
        same: Names of the arrays of the trace that have the same bits.
        other: Names of those that have not.
        deviations: Relative difference in each of the first steps, the larger one of loss and step.
        expects_bits: Whether all that rounding depends on is the same.
    """

    results: list[tuple[str, Any, Any, bool]]
    same: list[str]
    other: list[str]
    deviations: list[float]
    expects_bits: bool

    @property
    def exact(self) -> bool:
        """Whether everything that was recorded has the same bits."""
        return not self.other and all(equal for *_, equal in self.results)

    @property
    def agrees(self) -> bool:
        """Whether the new execution confirms the old one."""
        within = (found <= allowed for found, allowed in zip(self.deviations, TOLERANCES, strict=False))
        return self.exact or (not self.expects_bits and all(within))


def main(word: str) -> int:
    """Repeat the run with this key, or first digits of a key, or id in Omniboard.

    Returns:
        0 if the new numbers agree with the old ones, else 1.

    Raises:
        UserError: If no run, or more than one, is meant, or if the run fails.
    """
    folder = find(word)
    wrong = damage(folder)
    if wrong:
        raise UserError(f"the run {folder.name} is damaged ({wrong}), so there is nothing to compare")
    old = FinishedRun(folder.name, config_of(folder), folder)
    changed = reasons.differences(reasons.recorded(folder) or {}, identity(old.config))
    with _elsewhere():
        found = compare(old, _executed(old.config), changed)
    _show(old, found, changed)
    return 0 if found.agrees else 1


def find(word: str) -> Path:
    """The directory of the run, whose own path will do, too; raises UserError if none or several match."""
    word = Path(word).name
    found = _named(word)
    tables = [] if found else [str(path.relative_to(REPOSITORY)) for path in _mentions(word)]
    if tables:
        run_packs.unpack_all(Path(tables[0]).parts[1])
        found = _named(word)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(folder.name for folder in found[:5])
        raise UserError(f"{word!r} matches {len(found)} runs ({names}); give more digits of the key")
    if tables:
        raise UserError(
            f"the run {word!r} of {tables[0]} is neither in {runs_root()} nor in a pack; execute it with "
            f"`make reproduce PROFILE={Path(tables[0]).parts[1]} FORCE=1`"
        )
    raise UserError(
        f"no run in {runs_root()} has a key that begins with {word!r}; `python -m experiments runs` lists them"
    )


def _named(word: str) -> list[Path]:
    """The directories of the runs whose key begins with a word, or that have this id in Omniboard."""
    folders = run_folders(runs_root())
    found = [folder for folder in folders if folder.name.startswith(word.lower())]
    return found or [folder for folder in folders if str(number_of(folder.name)) == word]


def _mentions(word: str) -> list[Path]:
    """The tables of keys (times.csv) that contain this one."""
    return [
        path
        for path in sorted((REPOSITORY / "results").glob("*/*/times.csv"))
        if f",{word}".encode() in path.read_bytes()
    ]


def config_of(folder: Path) -> RunConfig:
    """The config of a run; raises UserError if today's code cannot execute it."""
    values = json.loads((folder / "config.json").read_text())
    values.pop("key", None)
    return RunConfig.read(values, f"{folder.name}/config.json")


@contextmanager
def _elsewhere() -> Iterator[None]:
    """A context in which runs are kept in a temporary folder."""
    before = os.environ.get("PAL_RUNS")
    with tempfile.TemporaryDirectory(prefix="pal-repeat-") as place:
        os.environ["PAL_RUNS"] = place
        try:
            yield
        finally:
            os.environ.pop("PAL_RUNS")
            if before is not None:
                os.environ["PAL_RUNS"] = before


def _executed(config: RunConfig) -> FinishedRun:
    failures = launch_one(config)
    if failures:
        raise UserError(f"the repeated run failed: {failures[0].reason}")
    run = find_finished([config])[0]
    _ = run.result, run.info  # read before the folder goes
    return run


def compare(old: FinishedRun, new: FinishedRun, changed: list[str]) -> Comparison:
    """Compare all results and arrays of two executions; `changed` are the parts in which the runs differ."""
    values = [(name, old.result[name], new.result.get(name)) for name in old.result]
    before, after = dict(old.trace), dict(new.trace)
    if thinning.MARK in old.info:
        after = thinning.thinned(after, fingerprints.STEPS)
    same = [name for name in before if name in after and _same_bits(before[name], after[name])]
    environments = [rounding(run.info["provenance"]) for run in (old, new)]
    return Comparison(
        [(name, then, now, _equal(then, now)) for name, then, now in values],
        same,
        sorted({*before, *after} - {*same}),
        deviations(fingerprints.head(before), fingerprints.head(after)),
        environments[0] == environments[1] and not changed and old.config.deterministic,
    )


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def _equal(then: Any, now: Any) -> bool:
    return then == now or (
        isinstance(then, float) and isinstance(now, float) and bool(np.isnan([then, now]).all())
    )


def deviations(then: fingerprints.Head, now: fingerprints.Head) -> list[float]:
    """Relative difference in each of the first steps, the larger one of loss and step; infinite if one is missing."""
    heads = [[np.asarray(head.get(name, []), float) for name in SERIES] for head in (then, now)]
    steps = max(len(values) for head in heads for values in head)
    pairs = [(_padded(one, steps), _padded(other, steps)) for one, other in zip(*heads, strict=True)]
    return np.max([_relative(one, other) for one, other in pairs], axis=0).tolist()


def _padded(values: np.ndarray, steps: int) -> np.ndarray:
    """As many values; NaN for all if there are none, which is no difference to a method that records none, too."""
    return np.concatenate([values, np.full(steps - len(values), np.nan)])


def _relative(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Difference as a fraction of the first; 0 where both are the same or not finite, infinite where only one is."""
    known = np.isfinite(one) & np.isfinite(other)
    found = np.where(np.isfinite(one) == np.isfinite(other), 0.0, np.inf)
    known &= one != other
    found[known] = np.abs(other[known] - one[known]) / np.maximum(np.abs(one[known]), np.finfo(float).tiny)
    return found


def _show(old: FinishedRun, found: Comparison, changed: list[str]) -> None:
    console = Console(highlight=False)
    console.print(f"{old.key}  {old.config.study}: {old.config.name}", style="bold", soft_wrap=True)
    if changed:
        commit = old.info["provenance"]["commit"]
        console.print(f"Changed since it was made (commit {commit}): {', '.join(changed)}.", soft_wrap=True)
    table = Table("result", "then", "now", "equal")
    for name, then, now, equal in found.results:
        table.add_row(name, _text(then), _text(now), "yes" if equal else "NO")
    console.print(table)
    console.print(_verdict(found), soft_wrap=True)


def _verdict(found: Comparison) -> str:
    """The result of the comparison in one sentence."""
    arrays = len(found.same) + len(found.other)
    bits = f"{len(found.same)} of {arrays} recorded series have the same bits"
    if found.expects_bits or found.exact:
        return f"{'Agrees' if found.agrees else 'DIFFERS'}: {bits}."
    shown, allowed = (
        ", ".join(f"{value:.2g}" for value in values[: len(TOLERANCES)])
        for values in (found.deviations, TOLERANCES)
    )
    return (
        f"{'Agrees' if found.agrees else 'DIFFERS'}: the first steps differ by {shown} ({allowed} are allowed where "
        f"rounding, code, data or packages are not the same); {bits}."
    )


def _text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
