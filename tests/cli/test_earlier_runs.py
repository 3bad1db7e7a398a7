"""Which runs of earlier code `verify` repeats and keeps, where there are several generations of them."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from small_runs import change

from experiments import planning
from experiments.cli import verify
from experiments.common import profiles
from experiments.common.paths import runs_root
from experiments.results import tables
from experiments.runs import run_directory
from experiments.runs.finished import find_finished
from experiments.runs.integrity import damage
from experiments.runs.key import run_key
from experiments.studies.base import get_study
from experiments.training.batch_line import BatchLine
from experiments.training.config import resolve

SECTION = {"problems": ["digits-mlp"], "steps": 2, "seeds": [0, 1, 2], "optimizers": {"pal": {}, "sgd": {}}}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The runs of a profile `tiny`; nothing is written of it, and DVC is told nothing."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": SECTION}))
    monkeypatch.setattr(tables, "write", lambda *_: None)
    monkeypatch.setattr(verify, "_commit", lambda *_: None)
    return planning.plan("tiny", "benchmark").runs


@pytest.fixture
def compared(monkeypatch):
    """The runs that are repeated, all of which agree."""
    seen = []
    monkeypatch.setattr(verify, "difference", seen.append)
    return seen


numbers = itertools.count()


def made(config, commit, key=None, started=""):
    """Make a run, as code of a commit did that gave it another key; `key` begins with where its hash puts it."""
    folder = run_directory.execute(config, training)
    change(folder, "info.json", lambda info: info["provenance"].update(commit=commit))
    change(folder, "run.json", lambda run: run.update(start_time=started))
    if key is not None:
        run_directory.rename(folder, f"{key}{next(numbers):015}")


def training(config, record):
    record.array("train_loss", np.ones(2))
    return {"steps": 2}


def adopted(config):
    """Which commit made what now has the run's key of today."""
    info = json.loads((runs_root() / run_key(config) / "info.json").read_text())
    return info["provenance"]["commit"]


def test_of_several_generations_the_newest_is_repeated_and_kept(plan, compared):
    for number, config in enumerate(plan):
        old, new = ("a", "f") if number % 2 else ("f", "a")
        made(config, "old", old, "2026-01-31T10:00:00")
        made(config, "new", new, "2026-01-31T10:00:00.500000")
    assert verify.main("tiny", 5) == 0
    assert {one.commit for one in compared} == {"new"}
    assert {adopted(config) for config in plan} == {"new"}
    for config in plan:  # whole, as packs demand
        folder = runs_root() / run_key(config)
        assert damage(folder) is None
        assert json.loads((folder / "config.json").read_text())["key"] == folder.name


def test_runs_of_todays_code_vouch_for_none_of_earlier_code(plan, compared):
    *todays, one = plan
    for config in todays:
        made(config, "today")
    made(one, "before", "a")
    assert verify.main("tiny", 1) == 0
    assert [each.config for each in compared] == [one]
    assert adopted(one) == "before"


def test_one_run_of_every_optimizer_and_commit_is_repeated(plan, compared):
    for config in plan:
        made(config, f"commit {config.seed}", "a")
    assert verify.main("tiny", 1) == 0
    pairs = {(one.config.optimizer, one.commit) for one in compared}
    assert len(pairs) == len(compared) == len(plan) == 6


def test_results_that_are_not_complete_are_not_called_kept(plan, compared, caplog):
    caplog.set_level("INFO")
    for config in plan[1:]:
        made(config, "before", "a")
    assert verify.main("tiny", 1) == 75
    assert "benchmark: agrees, bit by bit, but is not kept, as only 5 of 6 runs are finished" in caplog.text


def test_a_changed_measurement_of_lines_is_noticed(monkeypatch):
    measure = {"first": 3, "even": 3, "points": 9}
    config = resolve("lines", problem="digits-mlp", optimizer="pal", steps=12, measure=measure)
    run_directory.execute(config, get_study("lines").run)
    recorded = verify.read(find_finished([config])[0])
    assert verify.difference(recorded) is None
    losses = BatchLine.losses
    monkeypatch.setattr(BatchLine, "losses", lambda line, places: losses(line, [1.01 * s for s in places]))
    assert "with today's code it is" in verify.difference(recorded)


@pytest.mark.parametrize(("factor", "same"), [(1 + 1e-5, True), (1.1, False)])
def test_processors_of_two_makers_may_round_differently(factor, same):
    config = resolve("single", problem="digits-mlp", optimizer="adam", steps=3)
    run_directory.execute(config, get_study("single").run)
    here = verify.read(find_finished([config])[0])
    losses = [loss * factor for loss in here.head["train_loss"]]
    other = replace(here, head=here.head | {"train_loss": losses})
    assert "train_loss of step 0" in verify.difference(other)
    there = replace(other, environment=here.environment | {"maker": "another"})
    assert (verify.difference(there) is None) == same
