"""The quick benchmark as an array on a real SLURM controller: `make test-slurm`, in minutes (SHORT=1 for fewer)."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    "PAL_SLURM_TEST" not in os.environ, reason="needs tests/slurm/with_slurm.sh; `make test-slurm` starts it"
)

CLUSTER = {"time": 60, "mem": None, "cpus_per_task": 1, "array_parallelism": 2, "runs_per_task": 32}


@pytest.fixture
def place(tmp_path):
    """A copy of the code, so that its tables and runs are nobody else's."""
    for name in ("pal", "experiments", "profiles"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "requirements.lock", tmp_path)
    if os.environ.get("SHORT"):
        file = tmp_path / "profiles" / "quick.yaml"
        sections = yaml.safe_load(file.read_text())
        sections["benchmark"] |= {"steps": 120, "problems": ["digits-cnn"], "seeds": [0]}
        file.write_text(yaml.safe_dump(sections))
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    return tmp_path


def study(place, runs, *words):
    """The benchmark of the quick profile, in a process of its own."""
    command = [sys.executable, "-m", "experiments", "study", "benchmark", "--profile", "quick", *words]
    return subprocess.Popen(command, cwd=place, env=os.environ | {"PAL_RUNS": str(runs)})


def tables(place):
    """The bytes of all tables but that of times; they are taken away."""
    folder = place / "results" / "quick" / "benchmark"
    found = {path.name: path.read_bytes() for path in folder.glob("*.csv") if path.name != "times.csv"}
    shutil.rmtree(folder)
    return found


def running():
    """Array tasks that run now."""
    done = subprocess.run(
        ["squeue", "--noheader", "--states=running", "--format=%i"], capture_output=True, text=True
    )
    return done.stdout.split()


def finished(runs):
    return len(list(runs.glob("[0-9a-f]*")))


def test_the_array_ends_with_the_tables_of_the_local_launcher_though_a_task_is_killed_and_one_is_preempted(
    place,
):
    process = study(place, place / "cluster", "--slurm", "cluster.yaml")
    scancels: list[subprocess.Popen[bytes]] = []
    signalled: list[str] = []  # what was killed counts as running for a while, and takes no further signal
    for runs, signal in ((3, "KILL"), (10, "USR2")):
        while finished(place / "cluster") < runs or not set(running()) - set(signalled):
            assert process.poll() is None
            time.sleep(0.5)
        signalled += sorted(set(running()) - set(signalled))[:1]
        # Not waited for: scancel asks again and again about a task that its signal has requeued meanwhile.
        scancels.append(subprocess.Popen(["scancel", f"--signal={signal}", signalled[-1]]))
    assert process.wait() == 0
    for scancel in scancels:
        scancel.kill()
        scancel.wait()
    by_slurm = tables(place)
    logs = "".join(log.read_text() for log in (place / "cluster" / ".slurm").rglob("*.err"))
    assert "this job is" in logs  # submitit's words: the signal was caught
    jobs = [path for path in (place / "cluster" / ".slurm").iterdir() if path.is_dir()]
    assert len(jobs) == 2  # the array, and one for the killed task
    assert study(place, place / "local", "--slots", "2").wait() == 0
    assert set(by_slurm) >= {"runs.csv", "curves.csv", "best.csv", "provenance.csv"}
    assert tables(place) == by_slurm


def test_an_interrupted_command_leaves_no_jobs(place):
    process = study(place, place / "runs", "--slurm", "cluster.yaml")
    while not running():
        assert process.poll() is None
        time.sleep(0.5)
    process.send_signal(2)
    assert process.wait() == 130
    while running():
        time.sleep(0.5)
