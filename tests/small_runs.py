"""Short runs, a record that keeps everything in memory, packs of the test's own, and waiting for other processes."""

import io
import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.common.paths import runs_root
from experiments.runs import run_packs
from experiments.runs.integrity import seal
from experiments.runs.key import run_key
from experiments.training.config import RunConfig, resolve


def short(study="single", **changes) -> RunConfig:
    """A run of a second on a network with batch norm and dropout."""
    fields = {
        "problem": "digits-cnn",
        "optimizer": "pal",
        "steps": 24,
        "evaluate_every": 5,
        "train_size": 256,
    }
    return resolve(study, **fields | changes)


def quick(config, record):
    """Stands for a training; what it leaves is another thing for every seed."""
    print(f"seed {config.seed}")  # noqa: T201
    record.metric("loss", 0.5, 1)
    record.array("series", np.random.default_rng(config.seed).normal(size=50).astype(np.float32))
    return {"steps": 1, "status": "completed", "seed": config.seed}


def change(folder, name, how):
    """Change one of the JSON files of a finished run, with its checksums."""
    values = json.loads((folder / name).read_text())
    how(values)
    (folder / name).write_text(json.dumps(values))
    seal(folder)


@pytest.fixture(autouse=True)
def own_packs(tmp_path_factory, monkeypatch) -> Path:
    """Folder in which the test's own packs are, each under the name of its profile."""
    monkeypatch.setattr(run_packs, "RESULTS", tmp_path_factory.mktemp("results"))
    return run_packs.RESULTS


class Memory:
    """A record that keeps what it is given."""

    def __init__(self, checkpoint=None, checkpoint_seconds=float("inf")):
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        self.metrics, self.arrays, self.heard = [], {}, []

    def metric(self, name, value, step):
        self.metrics.append((name, value, step))

    def array(self, name, values):
        self.arrays[name] = np.array(values)

    def step_seconds(self, seconds):
        self.seconds = seconds

    def progress(self, step, words):
        self.heard.append(step)

    def load_checkpoint(self):
        return self.checkpoint

    def after_step(self, state):
        if self.checkpoint_seconds:
            return
        file = io.BytesIO()  # what the run does to its tensors later must not change the checkpoint
        torch.save(state(), file)
        file.seek(0)
        self.checkpoint = torch.load(file, weights_only=True)


class Interrupted(BaseException):
    """Stands for everything that ends a process in the middle."""


def until(condition, seconds=60.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def same_arrays(first, second):
    """Equal names and equal bits."""
    return set(first) == set(second) and all(
        np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes() for name in first
    )


def record_folder(config):
    """Where Sacred writes while a run is under way."""
    return runs_root() / ".partial" / run_key(config) / "record"


def children(pid: int) -> list[int]:
    """Process numbers of the children of a process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    return [child for child, parent in parents.items() if parent == pid]


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port of this machine that no process uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
