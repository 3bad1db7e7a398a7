"""Results outlive changes of code that change no result, and no others."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from copies import repository_copy

PROFILE = """\
benchmark:
  problems: [digits-mlp]
  steps: 12
  seeds: [0, 1]
  optimizers:
    pal: {grid: {mu: [0.1, 0.03]}}
    sgd: {grid: {lr: [0.1]}}
lines:
  - &lines
    problems: [digits-mlp]
    steps: 12
    seeds: [0]
    measure: {first: 3, even: 3, points: 9}
  - <<: *lines
    seeds: [1]
"""
PIPELINE = "results/tiny/dvc.yaml"
STUDIES = ("benchmark", "lines")
PARTS = ("benchmark-1", "lines-1", "lines-2")


class Copy:
    """A copy of the repository with a profile whose results are finished."""

    def __init__(self, root):
        self.root = repository_copy(root)
        (root / "profiles" / "tiny.yaml").write_text(PROFILE)
        self.execute("git", "init", "--quiet")
        for command in (["pipeline"], ["plan"], ["study", "--slots", "1"]):
            self.experiments(*command)
        stages = ("plan", *(f"part@{part}" for part in PARTS), *(f"study@{study}" for study in STUDIES))
        self.dvc("commit", "--force", "--quiet", *(f"{PIPELINE}:{stage}" for stage in stages))
        shutil.copytree(root / "runs", root / "kept")

    def execute(self, *command, code=0, **variables):
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(self.root), **variables)
        environment.pop("PAL_RUNS", None)
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def experiments(self, *words, code=0, **variables):
        command = (sys.executable, "-m", "experiments", *words, "--profile", "tiny")
        return self.execute(*command, code=code, **variables)

    def dvc(self, *words):
        return self.execute(sys.executable, "-m", "dvc", *words)

    def verify(self, code=0, **variables):
        return self.experiments("verify", "--sample", "2", code=code, **variables)

    def outdated(self):
        self.experiments("plan")  # what DVC would execute first
        status = self.dvc("status", PIPELINE)
        return {study for study in STUDIES if f"study@{study}" in status}

    def change(self, name, old, new):
        """Replace text of a file; returns what undoes it."""
        file = self.root / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return lambda: file.write_text(text)

    def forget_runs(self):
        shutil.rmtree(self.root / "runs")

    def bring_back_runs(self):
        shutil.rmtree(self.root / "runs", ignore_errors=True)
        shutil.copytree(self.root / "kept", self.root / "runs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("copy"))


STEP = "distance = -alpha * slope / curvature"


def test_the_traces_beside_the_tables_are_small_and_of_every_setting(copy):
    traces = pd.read_csv(copy.root / "results" / "tiny" / "benchmark" / "traces.csv")
    assert len(traces) == 3
    assert all('"seed":0' in config for config in traces["config"])


def test_without_runs_a_comment_is_accepted_and_a_changed_formula_is_refused(copy):
    copy.forget_runs()
    copy.change("pal/parabola.py", STEP, f"# Minimum of the parabola.\n    {STEP}")
    assert copy.outdated() == set()
    words = copy.verify(ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41")
    assert words.count("agrees, bit by bit") == len(STUDIES)  # as on another processor
    undo = copy.change("pal/parabola.py", STEP, "distance = -1.01 * alpha * slope / curvature")
    words = copy.verify(code=1)
    assert "benchmark: digits-mlp pal" in words
    assert "with today's code it is" in words
    assert copy.outdated() == set(STUDIES)
    undo()


def test_runs_of_earlier_code_get_the_keys_of_todays_and_their_tables_do_not_change(copy):
    copy.bring_back_runs()
    shutil.rmtree(copy.root / "results" / "tiny" / "parts")  # which say to DVC that parts are finished
    folder = copy.root / "results" / "tiny" / "benchmark"
    table, times = folder / "runs.csv", folder / "times.csv"
    before, keys = pd.read_csv(table), pd.read_csv(times)
    undo = copy.change("pal/parabola.py", "excess", "above_the_tangent")
    assert copy.outdated() == set(STUDIES)
    copy.verify()
    assert copy.outdated() == set()
    pd.testing.assert_frame_equal(pd.read_csv(table).drop(columns="key"), before.drop(columns="key"))
    after = pd.read_csv(times)
    assert (after["key"] != keys["key"])[keys["method"] == "pal"].all()
    assert {path.name for path in (copy.root / "runs").glob("[0-9a-f]*")} >= set(after["key"])
    undo()
