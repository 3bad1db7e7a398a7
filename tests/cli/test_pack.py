"""Commands that write packs of runs, and those that work from them."""

import shutil

import pytest
import yaml
from small_runs import quick, short

from experiments import planning
from experiments.cli import main as cli
from experiments.cli import pack
from experiments.common import profiles
from experiments.results import tables
from experiments.runs import launcher, omniboard, run_directory, run_packs
from experiments.runs.finished import find_finished
from experiments.runs.key import run_key
from experiments.studies.base import get_study

SECTION = {"problems": ["digits-mlp"], "steps": 2, "seeds": [0, 1]}


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Names of the runs that have been executed, in this process, for the profile `tiny`."""
    names = []

    def launch(configs, *_):
        known = {run.key for run in find_finished(configs)}
        for config in configs:
            if run_key(config) not in known:
                run_directory.execute(config, quick)
                names.append(config.name)
        return []

    monkeypatch.setattr(launcher, "launch", launch)
    monkeypatch.setattr(tables, "write", lambda *_: None)
    monkeypatch.setattr(tables, "make", lambda *_: {})
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    write_profile(tmp_path, pal={})
    return names


def write_profile(folder, **optimizers):
    section = SECTION | {"optimizers": optimizers}
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": section}))


def call(*words, code=0):
    assert cli.main([*words, "--profile", "tiny"]) == code


def keys():
    return {run_key(config) for config in planning.plan("tiny", "benchmark").runs}


def test_where_the_packs_are_only_the_runs_of_an_added_optimizer_are_executed(
    executed, runs_root, tmp_path, caplog
):
    call("study")
    call("pack")
    assert len(executed) == 2
    shutil.rmtree(runs_root)
    executed.clear()
    call("study")
    assert executed == []
    shutil.rmtree(runs_root)
    write_profile(tmp_path, pal={}, sgd={})
    call("study")
    assert len(executed) == 2
    assert all("sgd" in name for name in executed)
    call("pack")
    assert set(run_packs.read_sums(run_packs.path_of("tiny", "benchmark"))) == keys()


def test_what_is_packed_half_way_is_continued_elsewhere_and_packed_as_a_whole(executed, runs_root, caplog):
    first, _ = planning.plan("tiny", "benchmark").runs
    run_directory.execute(first, quick)
    call("pack")
    assert "1 are not finished" in caplog.text
    shutil.rmtree(runs_root)
    call("pack")
    assert "unchanged" in caplog.text
    shutil.rmtree(runs_root)
    call("study")
    assert len(executed) == 1
    call("pack")
    assert set(run_packs.read_sums(run_packs.path_of("tiny", "benchmark"))) == keys()


def test_without_finished_runs_there_is_no_pack(executed, caplog):
    call("pack")
    assert "nothing is packed" in caplog.text
    assert run_packs.packs_of("tiny") == []


def test_runs_of_a_profile_are_listed_from_its_packs_and_no_others(executed, runs_root, capsys):
    run_directory.execute(planning.plan("tiny", "benchmark").runs[0].model_copy(update={"seed": 9}), quick)
    call("study")
    call("pack")
    shutil.rmtree(runs_root / ".partial")
    for key in keys():
        shutil.rmtree(runs_root / key)
    capsys.readouterr()
    call("runs", "--csv")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert {key for key in keys() if any(key in line for line in lines)} == keys()


@pytest.mark.parametrize("only", [None, "seed=1"])
def test_forgotten_runs_do_not_come_back_from_a_pack(only, executed, runs_root):
    call("study")
    call("pack")
    shutil.rmtree(runs_root)
    call("forget", *(["--only", only] if only else []))
    executed.clear()
    call("study")
    assert len(executed) == (1 if only else 2)


def test_a_damaged_pack_ends_every_command_that_needs_it_with_one_sentence(
    executed, runs_root, capsys, monkeypatch
):
    monkeypatch.setattr(omniboard, "main", lambda port: 0)
    call("study")
    call("pack")
    shutil.rmtree(runs_root)
    executed.clear()
    path = run_packs.path_of("tiny", "benchmark")
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    capsys.readouterr()
    for words in (
        ["study"],
        ["study", "--dry-run"],
        ["runs"],
        ["omniboard"],
        ["verify"],
        ["pack"],
        ["forget"],
    ):
        call(*words, code=2)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"{path} is refused and not used" in error
    assert executed == []
    path.write_bytes(content)
    call("omniboard")
    assert len(find_finished(planning.plan("tiny", "benchmark").runs)) == 2


@pytest.mark.parametrize(("study", "smaller"), [("benchmark", True), ("capacity", False)])
def test_runs_are_thinned_only_if_every_table_stays_the_same(study, smaller, tmp_path):
    """Those of `capacity` read the loss of each step."""
    changes = {"steps": 40, "evaluate_every": 20, "train_size": 128}
    if study == "capacity":
        changes |= {"measure": {"last": 10, "every": 5}, "problem": "digits-hidden-2", "batch_size": 64}
    configs = [short(study, seed=seed, **changes) for seed in range(2)]
    for config in configs:
        run_directory.execute(config, get_study(study).run)
    finished = find_finished(configs)
    packed = pack._smaller(study, finished, tmp_path)
    assert (packed is not finished) == smaller
    assert ("thinned" in packed[0].info) == smaller
    assert pack._tables(study, packed) == pack._tables(study, finished)
