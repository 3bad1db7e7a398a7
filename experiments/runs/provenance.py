"""Everything besides its config that a run's result may depend on."""

import hashlib
import platform
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from experiments.common.git import git
from experiments.common.paths import REPOSITORY
from experiments.problems import PROBLEMS
from experiments.training.config import RunConfig, device_of

CODE = ("pal", "experiments", "requirements.lock")
"""What a commit must hold as it is here, for the runs to be its own; all settings are recorded with the run."""


def provenance(config: RunConfig) -> dict[str, Any]:
    """Code, data, software and hardware of a run that starts now."""
    gpu = device_of(config).type == "cuda"
    return _software() | {
        "data_sha256": _data_sha256(config.problem, config.train_size),
        "device": torch.cuda.get_device_name() if gpu else _processor(),
        "device_type": "cuda" if gpu else "cpu",
        "threads": torch.get_num_threads(),
    }


@lru_cache
def _data_sha256(problem: str, train_size: int | None) -> str:
    """Worked out once per process, whatever else about the problem changes from run to run."""
    return replace(PROBLEMS[problem], train_size=train_size).data_sha256()


@lru_cache
def _software() -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    commit = git("rev-parse", "HEAD")
    lock = REPOSITORY / "requirements.lock"
    return {
        "commit": commit,
        "dirty": commit and bool(git("status", "--porcelain", "--untracked-files=all", "--", *CODE)),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "driver": _driver() if gpu else None,
    }


def _processor() -> str:
    """Model of the CPU as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _driver() -> str | None:
    """Version of the NVIDIA driver."""
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().splitlines()[0] if file.exists() else None
