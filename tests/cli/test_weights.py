"""The final weights of a run."""

import json

import pytest
import torch
from small_runs import short

from experiments.cli import weights
from experiments.common.errors import UserError
from experiments.runs import run_directory
from experiments.studies.base import get_study


@pytest.fixture
def run():
    """A short run, finished, and its directory."""
    config = short(seed=3)
    return config, run_directory.execute(config, get_study(config.study).run)


def test_a_network_with_the_weights_of_a_run_has_its_validation_loss(run, tmp_path, capsys):
    config, folder = run
    assert weights.main(folder.name[:8], str(tmp_path / "model.pt")) == 0
    problem = config.resolved_problem
    network = problem.build(seed=0)
    network.load_state_dict(torch.load(tmp_path / "model.pt"))
    score = problem.evaluate(network, problem.load().validation)
    result = json.loads((folder / "run.json").read_text())["result"]
    assert score.loss == pytest.approx(result["final_val_loss"], rel=1e-5)
    assert score.accuracy == pytest.approx(result["final_val_accuracy"])


def test_what_differs_from_then_is_named(run, tmp_path, monkeypatch, caplog):
    _, folder = run
    monkeypatch.setattr(weights.FinishedRun, "result", {"status": "completed", "test_loss": 1.0})
    assert weights.main(folder.name, str(tmp_path / "model.pt")) == 1
    assert "test_loss" in caplog.text


def test_a_place_that_takes_no_file_is_said_before_the_run_is_repeated(run, tmp_path, monkeypatch):
    _, folder = run
    monkeypatch.setattr(weights, "_repeated", None)
    with pytest.raises(UserError, match="is a folder; --output names a file"):
        weights.main(folder.name, str(tmp_path))
    with pytest.raises(OSError, match="File exists"):
        weights.main(folder.name, "/dev/null/model.pt")


def test_a_run_that_diverged_has_no_final_weights(run, tmp_path, monkeypatch):
    _, folder = run
    monkeypatch.setattr(weights.FinishedRun, "result", {"status": "diverged"})
    with pytest.raises(UserError, match="diverged"):
        weights.main(folder.name, str(tmp_path / "model.pt"))
    assert not list(tmp_path.iterdir())
