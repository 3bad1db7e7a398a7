"""What DVC's own commands say of results: right, or refused with the command to use instead."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import dvc.env
import pandas as pd
import pytest
from copies import git

from experiments.cli import main as cli
from experiments.results.claims import judge

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = "results/quick"


def dvc_output(*words):
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words], check=True, capture_output=True, text=True
    ).stdout


def write_results(root, loss):
    """Results in which one method and one claim have this value."""
    claims = pd.DataFrame(
        {"id": ["accuracy", "loss"], "verdict": ["supported", "undecided"], "mean": [0.5, loss]}
    )
    best = pd.DataFrame({"method": ["pal", "sgd"], "train_loss_mean": [loss, 0.3], "test_accuracy_mean": 0.9})
    lines = pd.DataFrame({"problem": "digits-mlp", "at": [0, 1], "improvement_fraction": [0.9, loss]})
    (root / RESULTS / "metrics.json").write_text(json.dumps(judge.metrics(claims)))
    for name, table in {"benchmark/best": best, "lines/lines": lines}.items():
        path = root / RESULTS / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        table.to_csv(path, index=False)


@pytest.fixture
def two_versions(tmp_path, monkeypatch):
    """A repository with this pipeline: results of a commit, and others in the working tree."""
    shutil.copytree(REPOSITORY / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    for name in ("dvc.yaml", "params.yaml", "profiles/quick.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / RESULTS).mkdir(parents=True)
    git(tmp_path, "init", "--quiet")
    write_results(tmp_path, 0.25)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Add results")
    write_results(tmp_path, 0.125)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("two_versions")
def test_metrics_diff_shows_each_claim_whose_value_changed():
    found = json.loads(dvc_output("metrics", "diff", "--json"))
    assert found == {
        f"{RESULTS}/metrics.json": {"measured.loss": {"old": 0.25, "new": 0.125, "diff": -0.125}}
    }


def test_plots_diff_has_the_points_of_both_versions(two_versions):
    dvc_output("plots", "diff")
    page = (two_versions / "dvc_plots" / "index.html").read_text()
    specs = [
        json.loads(line.partition("=")[2].strip(" ;")) for line in page.splitlines() if "var spec" in line
    ]
    assert [spec["data"]["values"][0]["filename"] for spec in specs] == [
        f"{RESULTS}/benchmark/best.csv",
        f"{RESULTS}/lines/lines.csv",
    ]
    pal = [row for row in specs[0]["data"]["values"] if row["method"] == "pal"]
    assert {row["rev"]: row["train_loss_mean"] for row in pal} == {"HEAD": "0.25", "workspace": "0.125"}


@pytest.mark.parametrize("variable", [dvc.env.DVC_EXP_NAME, dvc.env.DVC_EXP_BASELINE_REV])
@pytest.mark.parametrize("written", ["", "profiles/quick.yaml"])
def test_an_experiment_of_dvc_is_refused_with_what_to_do_instead(monkeypatch, caplog, variable, written):
    monkeypatch.setenv(variable, "something")
    monkeypatch.setattr(cli, "git", lambda *_: written)
    assert cli.main(["plan"]) == 2
    assert "make reproduce PROFILE=NAME" in caplog.text
    assert ("git checkout HEAD -- profiles/quick.yaml" in caplog.text) == bool(written)
