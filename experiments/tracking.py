"""The run directory: Sacred writes it, a rename finishes it.

runs/<key>/            a finished run: Sacred's config.json, run.json, info.json, metrics.json, cout.txt, and trace.npz
runs/.partial/<key>/   an unfinished one: `record/` of the present attempt, and the checkpoint
runs/.failed/<key>/    the record of the last failed attempt
"""

import fcntl
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.config import RunConfig, device_of
from experiments.source import REPOSITORY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Sacred 0.8.7 imports pkg_resources
    from sacred import SETTINGS, Experiment
    from sacred.observers import FileStorageObserver

settings: Any = SETTINGS
settings.CAPTURE_MODE = "sys"
settings.DISCOVER_SOURCES = "none"  # the commit and the digest in the key say it better
settings.DISCOVER_DEPENDENCIES = "none"
settings.HOST_INFO.INCLUDE_GPU_INFO = False  # it calls nvidia-smi; provenance() asks torch
settings.HOST_INFO.INCLUDE_CPU_INFO = False

CHECKPOINT_SECONDS = 30.0

Body = Callable[[RunConfig, "Record"], dict[str, Any]]


def root() -> Path:
    """Folder of all runs: $PAL_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("PAL_RUNS", REPOSITORY / "runs"))


class Record:
    """Where a run leaves what it found.

    Args:
        run: Sacred's run, which takes metrics.
        checkpoint: File of the checkpoint.
        checkpoint_seconds: Time between checkpoints.
        on_progress: Told how far the run is.
    """

    def __init__(
        self,
        run: Any,
        checkpoint: Path,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        on_progress: Callable[[int, str], None] = lambda *_: None,
    ) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.checkpoint_seconds = checkpoint_seconds
        self.progress = on_progress
        self._run = run
        self._checkpoint = checkpoint

    def metric(self, name: str, value: float, step: int) -> None:
        """One finite number at one step."""
        self._run.log_scalar(name, value, step)

    def array(self, name: str, values: np.ndarray) -> None:
        """One array of the trace."""
        self.arrays[name] = values

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What an interrupted attempt saved last, or None."""
        if not self._checkpoint.exists():
            return None
        return torch.load(self._checkpoint, weights_only=True)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all."""
        fresh = self._checkpoint.with_suffix(".new")
        with fresh.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._checkpoint)


def execute(
    config: RunConfig,
    body: Body,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: Callable[[int, str], None] = lambda *_: None,
) -> Path:
    """Run `body` under Sacred and return the finished run's directory; a finished run is not run again.

    Raises:
        Exception: Whatever the body raised; its captured output and traceback are then in runs/.failed/<key>/.
    """
    key = config.key()
    finished = root() / key
    with _lock(key) as partial:
        if finished.exists():
            return finished
        shutil.rmtree(partial / "record", ignore_errors=True)
        try:
            _observed(config, key, partial, body, checkpoint_seconds, on_progress)
        except BaseException:
            _keep_failed(key, partial)
            raise
        (partial / "record").replace(finished)
    shutil.rmtree(root() / ".failed" / key, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    return finished


@contextmanager
def _lock(key: str) -> Iterator[Path]:
    """The folder of an unfinished run, held by one process at a time; the system frees it when the process ends."""
    partial = root() / ".partial" / key
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        with (partial / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held the lock may have finished the run and removed the folder meanwhile.
            if not (partial / "lock").exists() or not os.path.samestat(
                os.fstat(file.fileno()), (partial / "lock").stat()
            ):
                continue
            yield partial
            return


def _observed(
    config: RunConfig,
    key: str,
    partial: Path,
    body: Body,
    checkpoint_seconds: float,
    on_progress: Callable[[int, str], None],
) -> None:
    """One attempt, written by Sacred into partial/record."""
    experiment: Any = Experiment(f"{config.study}/{config.problem}/{config.entry}", save_git_info=False)
    experiment.logger = _quiet_logger()
    experiment.add_config(config.model_dump() | {"key": key})
    experiment.observers.append(FileStorageObserver(partial, copy_sources=False))

    @experiment.main
    def main(_run: Any) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        record = Record(_run, partial / "checkpoint.pt", checkpoint_seconds, on_progress)
        started = time.perf_counter()
        _run.info["provenance"] = provenance(config)
        try:
            result = body(config, record)
        except BaseException:
            _run._get_captured_output()  # Sacred keeps the output of failed runs only up to the last heartbeat
            raise
        _run.info["seconds"] = time.perf_counter() - started
        np.savez_compressed(partial / "record" / "trace.npz", **record.arrays)  # pyright: ignore[reportArgumentType]
        return result

    experiment.run(options={"--id": "record"})


def _keep_failed(key: str, partial: Path) -> None:
    """Move the attempt's record to where a person will look for the reason."""
    failed = root() / ".failed" / key
    if (partial / "record").exists():
        shutil.rmtree(failed, ignore_errors=True)
        failed.parent.mkdir(exist_ok=True)
        (partial / "record").replace(failed)


def _quiet_logger() -> logging.Logger:
    """Sacred announces start and end of every run; only its warnings are of interest."""
    logger = logging.getLogger("experiments.sacred")
    logger.setLevel(logging.WARNING)
    return logger


def provenance(config: RunConfig) -> dict[str, Any]:
    """Everything besides the config that a result may depend on."""
    device = device_of(config)
    return _software() | {
        "data_sha256": data_sha256(config.problem, config.train_size),
        "device": torch.cuda.get_device_name()
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
    }


@lru_cache
def data_sha256(problem: str, train_size: int | None) -> str:
    """SHA-256 of a problem's data, worked out once per process."""
    from experiments import problems

    return problems.with_changes(problems.get(problem), train_size=train_size).data_sha256()


@lru_cache
def _software() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit,
        "dirty": commit is not None and bool(_git("status", "--porcelain", "--untracked-files=no")),
        "lock_sha256": hashlib.sha256((REPOSITORY / "requirements.lock").read_bytes()).hexdigest(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "driver": _driver(),
    }


def _driver() -> str | None:
    """Version of the NVIDIA driver, None without a GPU."""
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().splitlines()[0] if torch.cuda.is_available() and file.exists() else None


def _git(*words: str) -> str | None:
    """Output of a git command; None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
