"""A run made again, and whether it is the same."""

import re

import numpy as np
import pytest
from small_runs import change, short

from experiments.cli import main as cli
from experiments.cli import repeat
from experiments.common.paths import REPOSITORY
from experiments.runs import launcher, run_directory, run_packs
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.mongo import number_of
from experiments.studies.base import get_study


@pytest.fixture
def finished():
    config = short(steps=12)
    run_directory.execute(config, get_study("single").run)
    return find_finished([config])[0]


@pytest.fixture
def here(monkeypatch):
    """Runs are executed in this process, which has the instruction set and threads of a worker."""

    def launch(configs, slots, show):
        for config in configs:
            run_directory.execute(config, get_study(config.study).run)
        return []

    monkeypatch.setattr(launcher, "launch", launch)


def test_a_repeated_run_has_the_same_bits_and_is_not_stored(finished, here, runs_root, capsys):
    before = sorted(runs_root.iterdir())
    for word in (finished.key, finished.key[:8], str(number_of(finished.key))):
        assert cli.main(["repeat", word]) == 0
        assert "have the same bits" in capsys.readouterr().out
    assert sorted(runs_root.iterdir()) == before


def test_a_number_that_does_not_come_out_again_is_shown_beside_the_new_one(finished, here, capsys):
    change(finished.directory, "run.json", lambda run: run["result"].update(test_accuracy=0.123))
    assert cli.main(["repeat", finished.key[:6]]) == 1
    text = capsys.readouterr().out
    assert "DIFFERS" in text
    assert "0.123" in text


def test_what_has_changed_since_is_named_and_the_same_bits_agree_all_the_same(finished, here, capsys):
    change(finished.directory, "info.json", lambda info: info["identity"].update(data="other", code="other"))
    assert cli.main(["repeat", finished.key]) == 0
    text = capsys.readouterr().out
    assert "code" in text
    assert "data" in text
    assert "have the same bits" in text


ELSEWHERE = [{"instruction_set": "native avx512"}, {"device": "Another 1 at 2 GHz"}]


@pytest.mark.parametrize("made", ELSEWHERE, ids=["another instruction set", "another maker"])
@pytest.mark.parametrize(("factor", "agrees"), [(1 + 1e-5, True), (1.1, False)])
def test_where_rounding_differs_the_first_steps_decide(finished, here, capsys, factor, agrees, made):
    trace = dict(finished.trace)
    np.savez_compressed(
        finished.directory / "trace.npz", **trace | {"train_loss": trace["train_loss"] * factor}
    )
    change(finished.directory, "info.json", lambda info: info["provenance"].update(made))
    old = FinishedRun(finished.key, finished.config, finished.directory)
    found = repeat.compare(old, finished_again(finished), [])
    assert not found.expects_bits
    assert found.agrees == agrees
    repeat._show(old, found, [])
    assert "0.002, 0.03, 0.15 are allowed" in " ".join(capsys.readouterr().out.split())


def finished_again(run):
    config = run.config.model_copy(update={"method": "again"})
    run_directory.execute(config, get_study("single").run)
    return find_finished([config])[0]


def test_a_key_that_fits_no_run_or_several_is_refused(finished, runs_root, capsys):
    (runs_root / f"{finished.key[:8]}00000000").mkdir()
    assert cli.main(["repeat", finished.key[:8]]) == 2
    assert "matches 2 runs" in capsys.readouterr().err
    assert cli.main(["repeat", "nothing"]) == 2
    assert "no run" in capsys.readouterr().err


def test_the_path_of_a_run_names_it_too(finished):
    assert repeat.find(f"{finished.directory}/") == finished.directory


def test_the_config_of_a_run_is_a_run_again(finished, capsys):
    file = str(finished.directory / "config.json")
    assert cli.main(["run", file]) == 0
    assert "This run is finished" in capsys.readouterr().out
    assert cli.main(["run", file, "seed=3", "--print-config"]) == 0
    assert "seed: 3" in capsys.readouterr().out


HABITS = {
    ("run", "with", "problem=digits-mlp", "optimizer=pal", "--print-config"): "mu: 0.1",
    ("print_config", "with", "problem=digits-mlp"): "--print-config",
    ("run", "print_config", "with", "problem=digits-mlp"): "--print-config",
    ("with", "problem=digits-mlp"): "experiments run",
    ("run", "problem=digits-mlp", "-F", "there"): "PAL_RUNS",
    ("run", "-m", "localhost:27017:sacred", "problem=digits-mlp"): "MONGO_URL",
    ("run", "--name=mine", "problem=digits-mlp"): "method=NAME",
    ("run", "-n", "mine", "problem=digits-mlp"): "method=NAME",
    ("run", "-f", "problem=digits-mlp"): "--force",
}


@pytest.mark.parametrize("words", HABITS, ids=" ".join)
def test_sacreds_words_work_or_are_answered_by_ours(words, capsys):
    code, said = cli.main([*words]), capsys.readouterr()
    assert HABITS[words] in said.out + said.err
    assert (code, said.err.count("\n")) in ((0, 0), (2, 1))


def test_first_steps_are_compared_one_by_one():
    then = {"train_loss": [1.0, 2.0, 4.0], "step": [0.1, 0.0, np.nan]}
    now = {"train_loss": [1.0, 2.2, 4.0], "step": [0.11, 0.0, np.nan]}
    assert repeat.deviations(then, now) == pytest.approx([0.1, 0.1, 0.0])
    assert repeat.deviations(then, then) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "now", [{"train_loss": [1.0]}, {"train_loss": [1.0, np.nan]}, {"train_loss": [1.0, np.inf]}, {}]
)
def test_a_step_that_only_one_of_both_has_differs_without_bound(now):
    assert repeat.deviations({"train_loss": [1.0, 2.0]}, now)[-1] == np.inf


def test_the_runs_that_the_documentation_repeats_are_committed():
    named = set(re.findall(r"\b[0-9a-f]{8}\b", (REPOSITORY / "REPRODUCIBILITY.md").read_text()))
    packs = (REPOSITORY / "results/small/packs").glob("*.tar.xz")
    committed = {key[:8] for path in packs for key in run_packs.read_sums(path)}
    assert named
    assert named <= committed
