"""Runs whose settings others decide: planned when those are finished, done by the same command, never twice."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments import planning
from experiments.cli import main as cli
from experiments.cli import verify
from experiments.common import profiles
from experiments.common.errors import UserError
from experiments.common.paths import runs_root
from experiments.results import tables
from experiments.results.tables.common import identity
from experiments.results.tables.selection import selected
from experiments.runs import launcher, run_directory
from experiments.runs.finished import FinishedRun, find_finished

SECTION = {
    "problems": ["digits-mlp", "digits-cnn"],
    "steps": 3,
    "selection_seeds": [100],
    "seeds": [5],
    "optimizers": {
        "pal": {"grid": {"mu": [0.1, 1.0, 3.0]}},
        "sgd-step": {"optimizer": "sgd", "schedule": "step"},
    },
}
WORDS = ["study", "benchmark", "--profile", "tiny", "--slots", "1"]


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile `tiny` in which three configurations of PAL are tried on each problem; what was written of it."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": SECTION}))
    written = []
    monkeypatch.setattr(tables, "write", lambda study, _, finished: written.append((study, len(finished))))
    monkeypatch.setattr(launcher, "launch", here)
    here.executed, here.most = [], 100
    return written


def here(configs, slots, show, stop):
    """Stands for the launcher: mu = 1 has the lowest loss and the highest accuracy, on digits-cnn mu = 3 the latter.

    It ends after `most` runs, as if it were killed.
    """
    for config in configs:
        if not find_finished([config]):
            if len(here.executed) == here.most:
                raise KeyboardInterrupt
            mu = config.settings.get("mu")
            here.executed.append(config)
            good = mu == (3 if config.problem == "digits-cnn" else 1)
            found = result(0.1 if mu == 1 else 0.5, 0.9 if good else 0.5)
            run_directory.execute(config, lambda *_, found=found: found)
    return []


def result(loss, accuracy=0.5):
    accuracies = dict.fromkeys(("final_val_accuracy_reestimated", "test_accuracy_reestimated"), accuracy)
    return {"status": "completed", "steps": 1, "final_train_loss": loss} | accuracies


def test_selection_seeds_decide_what_fresh_seeds_judge_and_a_rerun_does_nothing(profile):
    before = planning.plan("tiny", "benchmark")
    assert (len(before.runs), len(before.awaited)) == (8, 6)  # at most one configuration by each criterion
    assert {(config.seed, config.phase) for config in before.runs} == {(100, "selection")}
    assert cli.main(WORDS) == 0
    after = planning.plan("tiny", "benchmark")
    assert (after.runs[:8], after.awaited) == (before.runs, [])
    fresh = [(config.problem, config.method, config.settings.get("mu")) for config in after.runs[8:]]
    assert sorted(fresh, key=str) == [
        ("digits-cnn", "pal", 1.0),
        ("digits-cnn", "pal", 3.0),
        ("digits-cnn", "sgd-step", None),
        ("digits-mlp", "pal", 1.0),
        ("digits-mlp", "sgd-step", None),
    ]
    assert {(config.seed, config.phase) for config in after.runs[8:]} == {(5, "evaluation")}
    assert {config.schedule for config in after.runs if config.method == "sgd-step"} == {"step"}
    assert here.executed == after.runs
    assert profile == [("benchmark", 13)]
    assert cli.main(WORDS) == 0
    assert here.executed == after.runs
    assert profile == [("benchmark", 13)] * 2


@pytest.mark.parametrize("most", [3, 8, 9])
def test_killed_before_between_or_after_the_same_command_completes(profile, most):
    here.most = most
    assert cli.main(WORDS) == 130
    assert profile == []
    here.most = 100
    assert cli.main(WORDS) == 0
    assert here.executed == planning.plan("tiny", "benchmark").runs
    assert profile == [("benchmark", 13)]


def test_a_dry_run_counts_the_further_runs(profile, capsys):
    def told():
        assert cli.main([*WORDS, "--dry-run"]) == 0
        return capsys.readouterr().out

    row = re.compile(r"benchmark\W+digits-cnn\W+pal\W+(\d+)\W+(\d+)\W+(\d+)\W")
    text = told()
    assert row.search(text).groups() == ("5", "0", "5")
    assert "6 of the runs depend" in text
    cli.main(WORDS)
    text = told()
    assert row.search(text).groups() == ("5", "5", "0")
    assert "follow" not in text


def test_only_takes_further_runs_once_they_are_known(profile, capsys):
    assert cli.main([*WORDS, "--only", "seed=5"]) == 2
    assert "depend on others of their study" in capsys.readouterr().err
    assert cli.main([*WORDS, "--only", "pal"]) == 0
    assert [config.seed for config in here.executed] == [100] * 6  # SGD's are missing
    assert cli.main([*WORDS, "--only", "sgd-step"]) == 0
    assert [config.seed for config in here.executed[6:]] == [100, 100, 5, 5]
    assert cli.main(["forget", "--profile", "tiny", "--only", "sgd-step,seed=5"]) == 0
    assert cli.main([*WORDS, "--only", "seed=5"]) == 0
    assert sorted(config.method for config in here.executed[10:]) == ["pal"] * 3 + ["sgd-step"] * 2


def test_verify_knows_further_runs_by_runs_of_earlier_code_and_by_the_tables(profile, monkeypatch, tmp_path):
    assert cli.main(WORDS) == 0
    whole = planning.plan("tiny", "benchmark").runs
    for run in find_finished(whole):
        run.directory.rename(run.directory.with_name(run.key[::-1]))
    assert len(planning.plan("tiny", "benchmark").runs) == 8
    assert verify.planned("tiny", "benchmark") == whole
    assert len(verify.earlier(whole)) == 13

    shutil.rmtree(runs_root())
    runs_root().mkdir()
    good = [config.settings.get("mu") == (3 if config.problem == "digits-cnn" else 1) for config in whole]
    rows = [
        identity(FinishedRun("", config, tmp_path))
        | result(0.1 if config.settings.get("mu") == 1 else 0.5, 0.9 if best else 0.5)
        for config, best in zip(whole, good, strict=True)
    ]
    for module in (tables, tables.files):
        monkeypatch.setattr(module, "folder", lambda *_: tmp_path)
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv")
    assert verify.planned("tiny", "benchmark") == whole


def test_seeds_that_select_may_not_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": SECTION | {"seeds": [5, 100]}}))
    with pytest.raises(UserError, match="both have 100"):
        planning.plan("tiny", "benchmark")


def rows(problem, method, setting, losses, accuracies):
    return [
        {"problem": problem, "method": method, "setting": setting, "seed": seed, "phase": "selection"}
        | result(loss, accuracy)
        | {"status": "completed" if np.isfinite(loss) else "diverged"}
        for seed, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    ]


def test_each_criterion_selects_on_each_problem_and_a_diverged_run_is_worst():
    table = pd.DataFrame(
        rows("p", "pal", "mu=0.1", [1.0, 1.0], [0.9, 0.9])
        + rows("p", "pal", "mu=1", [0.9, 0.9], [0.5, 0.5])
        + rows("q", "pal", "mu=0.1", [0.1, 0.1], [0.9, 0.9])
        + rows("q", "pal", "mu=1", [0.2, 0.2], [0.8, 0.8])
        + rows("q", "sgd", "lr=0.1", [0.1, np.inf], [1.0, 1.0])
        + rows("q", "sgd", "lr=1", [2.0, 2.0], [0.1, 0.1])
    )
    assert selected(table) == {
        ("p", "pal"): ["mu=1", "mu=0.1"],
        ("q", "pal"): ["mu=0.1"],
        ("q", "sgd"): ["lr=1"],
    }
