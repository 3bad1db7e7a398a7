"""The run directory: Sacred writes it, a rename finishes it.

runs/<key>/            a finished run: config.json, run.json, info.json, metrics.json and cout.txt of Sacred; trace.npz;
                       changes.diff if no commit has its code; the checksums of all these in SHA256SUMS
runs/.partial/<key>/   an unfinished one: `record/` of the present attempt, and the checkpoint
runs/.failed/<key>/    the record of the last failed attempt, or a damaged run; its cout.txt ends with the reason
runs/.deleted/<key>/   a finished run that is being deleted
runs/.unpacked/        runs that are being unpacked
"""

import errno
import json
import logging
import math
import os
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.errors import UserError, reason
from experiments.common.paths import lock, remove, runs_root, to_disk, write_whole
from experiments.runs import checkpoint, integrity
from experiments.runs.key import identity, run_key
from experiments.runs.observer import RunFiles
from experiments.runs.provenance import changes, provenance
from experiments.training.config import RunConfig
from experiments.training.record import Record, State

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Sacred 0.8.7 imports pkg_resources
    from sacred import SETTINGS, Experiment

settings: Any = SETTINGS
settings.CAPTURE_MODE = "sys"
settings.DISCOVER_SOURCES = "none"  # the commit and the digest in the key say it better
settings.DISCOVER_DEPENDENCIES = "none"
settings.HOST_INFO.INCLUDE_GPU_INFO = False  # it calls nvidia-smi; provenance() asks torch
settings.HOST_INFO.INCLUDE_CPU_INFO = False

CHECKPOINT_SECONDS = 30.0


class Stopped(KeyboardInterrupt):
    """A run was asked to end and has saved a checkpoint; for Sacred the same as Ctrl-C."""


Body = Callable[[RunConfig, Record], dict[str, Any]]
OnProgress = Callable[[int, str], None]


class RunRecord(Record):
    """Where a run leaves what it found.

    Args:
        run: Sacred's run, which takes metrics.
        checkpoint: File of the checkpoint.
        checkpoint_seconds: Time between checkpoints.
        on_progress: Told how far the run is.
        stop: Whether the run is to end at a checkpoint, as soon as it can save one.
    """

    def __init__(
        self,
        run: Any,
        checkpoint: Path,
        checkpoint_seconds: float,
        on_progress: OnProgress,
        stop: Callable[[], bool],
    ) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._on_progress = on_progress
        self._run = run
        self._checkpoint = checkpoint
        self._checkpoint_seconds = checkpoint_seconds
        self._stop = stop
        self._before, self._started, self._saved_at = 0.0, time.perf_counter(), time.monotonic()

    @property
    def seconds(self) -> float:
        """What the run has taken so far, earlier attempts up to their last checkpoint included."""
        return self._before + time.perf_counter() - self._started

    def metric(self, name: str, value: float, step: int) -> None:
        """One number at one step; raises ValueError if it is not finite, since viewers draw NaN as 0."""
        if not math.isfinite(value):
            raise ValueError(f"metric {name!r} is {value} at step {step}; only finite numbers are recorded")
        self._run.log_scalar(name, value, step)

    def array(self, name: str, values: np.ndarray) -> None:
        """One array of the trace."""
        self.arrays[name] = values

    def step_seconds(self, seconds: float) -> None:
        """The time of the steps alone."""
        self._run.info["step_seconds"] = seconds

    def load_checkpoint(self) -> State | None:
        """What an interrupted attempt saved last, on the CPU; or None."""
        state = checkpoint.load(self._checkpoint)
        if state is not None:
            self._before = state.pop("seconds")
        return state

    def progress(self, step: int, words: str) -> None:
        """How far the run is."""
        self._on_progress(step, words)

    def after_step(self, state: Callable[[], State], /) -> None:
        """Save a checkpoint if one is due, or if the run is to stop; raises Stopped afterwards if it is to stop."""
        stop = self._stop()
        if stop or time.monotonic() - self._saved_at > self._checkpoint_seconds:
            checkpoint.save(self._checkpoint, state() | {"seconds": self.seconds})
            self._saved_at = time.monotonic()
        if stop:
            raise Stopped


def require_root() -> None:
    """Raises UserError unless runs can be kept where they belong."""
    try:
        runs_root().mkdir(parents=True, exist_ok=True)
        for place in (runs_root() / name for name in (".partial", ".failed", ".deleted")):
            if os.path.lexists(place) and not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a folder")
        with tempfile.TemporaryFile("w", dir=runs_root()) as file:
            lock(file)
            file.write("room")
    except OSError as error:
        raise UserError(
            f"runs cannot be stored in {runs_root()}: {reason(error)}; set PAL_RUNS to another folder"
        ) from None


def execute(
    config: RunConfig,
    body: Body,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: OnProgress = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Run `body` under Sacred and return the finished run's directory; a finished run is not run again.

    Raises:
        Exception: Whatever the body raised; its captured output and traceback are then in runs/.failed/<key>/.
        Stopped: If `stop` said so and the run has saved a checkpoint.
    """
    key = run_key(config)
    finished = runs_root() / key
    with _lock(key) as partial:
        if os.path.lexists(finished) and not integrity.is_whole(finished, config):
            _keep_failed(key, finished, "This run was finished, and then damaged.")
        if not finished.exists():
            _attempt(
                config,
                partial,
                body,
                lambda run: RunRecord(run, partial / "checkpoint.pt", checkpoint_seconds, on_progress, stop),
            )
            (partial / "record").replace(finished)
            remove(runs_root() / ".failed" / key)
        # On NFS the lock, still open, stays as another file: no reason to fail, nor is whoever waits for it just now.
        shutil.rmtree(partial, ignore_errors=True)
    return finished


def adopt(directory: Path, key: str) -> bool:
    """Let a complete run directory be the finished run of a key, unless that is there or being executed.

    Returns:
        Whether it is.
    """
    finished = runs_root() / key
    try:
        with _lock(key, wait=False) as partial:
            fresh = not finished.exists()
            if fresh:
                directory.rename(finished)
                shutil.rmtree(runs_root() / ".failed" / key, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
    except BlockingIOError:
        return False
    return fresh


def rename(directory: Path, key: str) -> None:
    """Give a finished run another key, which its config.json says, too.

    Killed at any moment, it is left as it was, or as well under the new key.
    """
    with _lock(key) as partial:
        copy = partial / "renamed"
        remove(copy)
        shutil.copytree(directory, copy)
        config = copy / "config.json"
        values = json.loads(config.read_text()) | {"key": key}
        config.write_text(json.dumps(values, indent=2, sort_keys=True))
        integrity.seal(copy)
        _all_to_disk(copy)
        copy.rename(runs_root() / key)
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(directory)


def _all_to_disk(folder: Path) -> None:
    """Have what is in a folder written: after a power loss, files under their final name must not be empty."""
    for path in folder.iterdir():
        to_disk(path)
    with suppress(OSError):  # some network file systems take this for files only
        to_disk(folder)


def failed(config: RunConfig, reason: str) -> Path:
    """Record that the process of a run died without a word; returns the log that says so."""
    key = run_key(config)
    with _lock(key) as partial:
        return _keep_failed(key, partial / "record", reason)


def log(config: RunConfig) -> Path:
    """Captured output of the last failed attempt, with the reason at its end."""
    return runs_root() / ".failed" / run_key(config) / "cout.txt"


@contextmanager
def _lock(key: str, wait: bool = True) -> Iterator[Path]:
    """The folder of an unfinished run, held by one process at a time; the system frees it when the process ends.

    Raises:
        BlockingIOError: If another process holds it and this one is not to wait.
    """
    partial = runs_root() / ".partial" / key
    while True:
        try:
            partial.mkdir(parents=True, exist_ok=True)
            file = (partial / "lock").open("w")
        except FileNotFoundError:  # whoever finished the run just now has removed the folder
            continue
        except (FileExistsError, IsADirectoryError) as error:  # something else is in its place
            remove(Path(error.filename))
            continue
        with file:
            lock(file, wait)
            if not _is_at(file.fileno(), partial / "lock"):
                continue
            yield partial
            return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _attempt(config: RunConfig, partial: Path, body: Body, recorder: Callable[[Any], RunRecord]) -> None:
    """Fill partial/record wholly, or move what there is of it to the failed runs."""
    remove(partial / "record")

    def main(run: Any) -> dict[str, Any]:
        run.info["provenance"] = provenance(config)
        run.info["identity"] = {name: part for name, part in identity(config).items() if name != "config"}
        if patch := changes():
            write_whole(partial / "record" / integrity.CHANGES, patch)
        record = recorder(run)
        try:
            result = body(config, record)
        except BaseException:
            run._get_captured_output()  # Sacred keeps the output of failed runs only up to the last heartbeat
            raise
        run.info["seconds"] = record.seconds
        # Not compressed: packs of runs (run_packs.py) are smaller that way, and as large as their traces are.
        np.savez(partial / "record" / "trace.npz", **record.arrays)  # pyright: ignore[reportArgumentType]
        return result

    try:
        _observe(config, partial, main)
        integrity.seal(partial / "record")
        _all_to_disk(partial / "record")
    except Exception:
        with suppress(OSError):  # it may be what went wrong: a full disk holds no log
            _keep_failed(run_key(config), partial / "record", traceback.format_exc())
        raise


def _observe(config: RunConfig, partial: Path, main: Callable[[Any], dict[str, Any]]) -> None:
    """Run `main` with Sacred's run, which writes into partial/record."""
    experiment: Any = Experiment(f"{config.study}/{config.problem}/{config.method}", save_git_info=False)
    experiment.logger = _quiet_logger()
    experiment.add_config(config.model_dump() | {"key": run_key(config)})
    files = RunFiles(partial)
    experiment.observers.append(files)
    experiment.main(lambda _run: main(_run))
    run = experiment.run(options={"--id": "record"})
    run._heartbeat.join()  # Sacred waits two seconds for its last words, whatever a slow disk makes of them
    files.complete()


def _keep_failed(key: str, record: Path, reason: str) -> Path:
    """Move the record of a run to where the user will look for the reason; the checkpoint stays."""
    place = runs_root() / ".failed" / key
    remove(place)
    place.parent.mkdir(exist_ok=True)
    if record.is_dir():
        record.replace(place)
    else:
        place.mkdir()
        with suppress(FileNotFoundError):
            record.replace(place / record.name)
    said = place / "cout.txt"
    if not said.is_file():
        remove(said)
    with suppress(OSError), said.open("a") as file:  # a full disk holds no reason
        file.write(f"\n{reason}\n")
    return said


def _quiet_logger() -> logging.Logger:
    """Sacred announces start and end of every run; only its warnings are of interest."""
    logger = logging.getLogger("experiments.sacred")
    logger.setLevel(logging.WARNING)
    return logger
