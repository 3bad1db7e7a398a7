"""Killed at any moment, by any means: the same command completes with the same tables."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from copies import repository_copy

PROFILE = """\
benchmark:
  problems: [digits-cnn]
  steps: 150
  seeds: [0, 1, 2]
  optimizers:
    pal: {grid: {mu: [0.1]}}
    adam: {grid: {lr: [0.01]}}
"""
KILLS = 20


def processes(group):
    """Launcher and workers of a study that was started in a session of its own, and what its workers started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [int(pid) for pid, parent, _ in rows if int(pid) == group or int(parent) == group]


def study(root):
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(root))
    environment.pop("PAL_RUNS", None)
    words = [*("study", "benchmark"), *("--profile", "kills"), *("--slots", "2")]
    command, quiet = [sys.executable, "-m", "experiments", *words], subprocess.DEVNULL
    return subprocess.Popen(command, cwd=root, env=environment, stdout=quiet, stderr=quiet)


def result(root):
    """The tables that do not tell of time or keys of traces."""
    folder = root / "results" / "kills" / "benchmark"
    return {path.name: path.read_bytes() for path in folder.glob("*.csv") if path.name != "times.csv"}


@pytest.mark.large
def test_twenty_kills_at_random_moments_change_no_byte_of_the_tables(tmp_path):
    root = repository_copy(tmp_path)
    (root / "profiles" / "kills.yaml").write_text(PROFILE)
    started = time.monotonic()
    assert study(root).wait(timeout=600) == 0
    whole = time.monotonic() - started
    wanted = result(root)
    dice, killed = random.Random(0), 0
    while killed < KILLS:
        shutil.rmtree(root / "runs")
        shutil.rmtree(root / "results")
        for _ in range(4):
            running = study(root)
            time.sleep(dice.uniform(0, whole))
            alive = processes(running.pid) if running.poll() is None else []
            if not alive:
                break
            victim = dice.choice(alive)
            os.kill(victim, signal.SIGKILL)
            killed += 1
            running.wait(timeout=600)
        assert study(root).wait(timeout=600) == 0
        assert result(root) == wanted
        assert not list((root / "runs" / ".partial").iterdir())
