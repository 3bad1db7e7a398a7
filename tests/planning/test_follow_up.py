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
from experiments.results.tables.selection import lowest_loss
from experiments.runs import launcher, run_directory
from experiments.runs.finished import FinishedRun, find_finished

SECTION = {
    "problems": ["digits-mlp"],
    "steps": 3,
    "seeds": [0, 1],
    "optimizers": {"pal": {"grid": {"mu": [0.1, 1.0]}}, "sgd-step": {"optimizer": "sgd", "schedule": "step"}},
    "confirmation": {"problems": ["digits-cnn"], "steps": 2, "seeds": [5]},
}
WORDS = ["study", "benchmark", "--profile", "tiny", "--slots", "1"]


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile `tiny` whose four runs of PAL decide one; what was written of it."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": SECTION}))
    written = []
    monkeypatch.setattr(tables, "write", lambda study, _, finished: written.append((study, len(finished))))
    monkeypatch.setattr(launcher, "launch", here)
    here.executed, here.most = [], 100
    return written


def here(configs, slots, show, stop):
    """Stands for the launcher: mu = 1 has the lowest loss; ends after `most` runs, as if it were killed."""
    for config in configs:
        if not find_finished([config]):
            if len(here.executed) == here.most:
                raise KeyboardInterrupt
            loss = 0.1 if config.settings.get("mu") == 1 else 0.5
            here.executed.append(config)
            run_directory.execute(config, lambda *_, loss=loss: result(loss))
    return []


def result(loss):
    names = ("final_train_loss", "final_val_accuracy", "test_accuracy")
    return {"status": "completed", "steps": 1} | dict.fromkeys(names, loss)


def test_the_first_runs_decide_the_further_ones_and_a_rerun_does_nothing(profile):
    before = planning.plan("tiny", "benchmark")
    assert (len(before.runs), len(before.awaited)) == (6, 2)
    assert cli.main(WORDS) == 0
    after = planning.plan("tiny", "benchmark")
    assert (after.runs[:6], after.awaited) == (before.runs, [])
    pal, sgd = after.runs[6:]
    assert (pal.problem, pal.steps, pal.seed, pal.settings["mu"]) == ("digits-cnn", 2, 5, 1.0)
    assert (sgd.method, sgd.optimizer, sgd.schedule) == ("sgd-step", "sgd", "step")
    assert here.executed == after.runs
    assert profile == [("benchmark", 8)]
    assert cli.main(WORDS) == 0
    assert here.executed == after.runs
    assert profile == [("benchmark", 8)] * 2


@pytest.mark.parametrize("most", [3, 6, 7])
def test_killed_before_between_or_after_the_same_command_completes(profile, most):
    here.most = most
    assert cli.main(WORDS) == 130
    assert profile == []
    here.most = 100
    assert cli.main(WORDS) == 0
    assert here.executed == planning.plan("tiny", "benchmark").runs
    assert profile == [("benchmark", 8)]


def test_a_dry_run_counts_the_further_runs(profile, capsys):
    def told():
        assert cli.main([*WORDS, "--dry-run"]) == 0
        return capsys.readouterr().out

    row = re.compile(r"benchmark\W+digits-cnn\W+pal\W+(\d+)\W+(\d+)\W+(\d+)\W")
    text = told()
    assert row.search(text).groups() == ("1", "0", "1")
    assert "2 of the runs follow" in text
    cli.main(WORDS)
    text = told()
    assert row.search(text).groups() == ("1", "1", "0")
    assert "follow" not in text


def test_only_takes_further_runs_once_they_are_known(profile, capsys):
    assert cli.main([*WORDS, "--only", "digits-cnn"]) == 2
    assert "follow when the others" in capsys.readouterr().err
    assert cli.main([*WORDS, "--only", "pal"]) == 0
    assert [config.problem for config in here.executed] == ["digits-mlp"] * 4
    assert cli.main([*WORDS, "--only", "sgd-step"]) == 0
    assert [config.problem for config in here.executed[4:]] == ["digits-mlp"] * 2 + ["digits-cnn"]
    assert cli.main(["forget", "--profile", "tiny", "--only", "sgd-step,digits-cnn"]) == 0
    assert cli.main([*WORDS, "--only", "digits-cnn"]) == 0
    assert [config.method for config in here.executed[7:]] == ["pal", "sgd-step"]


def test_verify_knows_further_runs_by_runs_of_earlier_code_and_by_the_tables(profile, monkeypatch, tmp_path):
    assert cli.main(WORDS) == 0
    whole = planning.plan("tiny", "benchmark").runs
    for run in find_finished(whole):
        run.directory.rename(run.directory.with_name(run.key[::-1]))
    assert len(planning.plan("tiny", "benchmark").runs) == 6
    assert verify.planned("tiny", "benchmark") == whole
    assert len(verify.earlier(whole)) == 8

    shutil.rmtree(runs_root())
    runs_root().mkdir()
    rows = [identity(FinishedRun("", config, tmp_path)) | result(0.5) for config in whole]
    rows[2] |= result(0.1)  # mu = 1
    rows[3] |= result(0.1)
    for module in (tables, tables.files):
        monkeypatch.setattr(module, "folder", lambda *_: tmp_path)
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv")
    assert verify.planned("tiny", "benchmark") == whole


def test_a_further_run_that_the_grid_has_too_is_a_mistake_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    same = {"problems": ["digits-mlp"], "steps": 3, "seeds": [1]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": SECTION | {"confirmation": same}}))
    with pytest.raises(UserError, match="twice"):
        planning.plan("tiny", "benchmark")


def losses(method, setting, *problems):
    return [
        {"problem": f"p{problem}", "method": method, "setting": setting, "seed": seed}
        | result(loss)
        | {"status": "completed" if np.isfinite(loss) else "diverged"}
        for problem, seeds in enumerate(problems)
        for seed, loss in enumerate(seeds)
    ]


def test_the_choice_weighs_problems_by_ratios_of_losses_and_diverged_is_worst():
    table = pd.DataFrame(
        losses("pal", "mu=0.1", [1.0, 1.0], [0.001, 0.001])
        + losses("pal", "mu=1", [0.9, 0.9], [0.1, 0.1])  # worse by a factor of 100, better by 0.9
        + losses("sgd", "lr=0.1", [0.1, 0.1], [0.1, np.inf])
        + losses("sgd", "lr=1", [2.0, 2.0], [2.0, 2.0])
        + losses("sls", "c=0.1", [0.0, 0.0], [np.inf, 1.0])  # zero somewhere makes up for nothing
        + losses("sls", "c=0.5", [1.0, 1.0], [1.0, 1.0])
    )
    assert lowest_loss(table) == {"pal": "mu=0.1", "sgd": "lr=1", "sls": "c=0.5"}
