"""The list of runs: what it finds, how it filters and sorts, and that it is quick."""

import csv
import io
import json
from pathlib import PurePath

import pytest
from rich.console import Console
from small_runs import short

from experiments.cli import list_runs
from experiments.cli import main as cli
from experiments.common.errors import UserError
from experiments.data.dataset import checksum
from experiments.runs import listing, run_directory
from experiments.runs.integrity import seal


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the files of a run that the list reads."""
    monkeypatch.setenv("PAL_RUNS", str(tmp_path))

    def write(key, method="pal", accuracy=0.9, failed=False, **config):
        name = f"{key:0<16}"
        folder = tmp_path / ".failed" / name if failed else tmp_path / name
        folder.mkdir(parents=True)
        known = {"study": "benchmark", "problem": "digits-cnn", "method": method, "seed": 0}
        settings = {"mu": 0.1} if method == "pal" else {"lr": 0.1}
        result = (
            None
            if failed
            else {"status": "completed", "final_val_accuracy": accuracy, "final_train_loss": 0.1}
        )
        (folder / "config.json").write_text(json.dumps(known | {"settings": settings} | config))
        (folder / "run.json").write_text(json.dumps({"result": result, "start_time": f"2026-01-01T{key}"}))
        if not failed:
            (folder / "info.json").write_text(json.dumps({"seconds": 2.5}))
            for other in ("cout.txt", "metrics.json", "trace.npz"):
                (folder / other).touch()
            seal(folder)

    return write


def keys(table):
    return [row["key"][:2] for row in table]


def test_finished_and_failed_runs_are_listed(write):
    write("aa")
    write("bb", failed=True)
    found = {row["key"][:2]: row["status"] for row in listing.rows()}
    assert found == {"aa": "completed", "bb": "failed"}


def test_a_run_that_failed_once_and_finished_later_is_listed_once(write):
    write("aa")
    write("aa", failed=True)
    assert [row["status"] for row in listing.rows()] == ["completed"]


def test_what_a_dying_attempt_left_half_written_is_listed_as_far_as_it_goes(write, tmp_path):
    for key in ("aa", "bb", "cc"):
        write(key, failed=True)
    write("dd")
    aa, bb, cc = sorted((tmp_path / ".failed").iterdir())
    (aa / "config.json").write_text('{"study": "bench')
    (bb / "run.json").write_text("")
    (cc / "info.json").write_text('{"seconds"')
    found = {row["key"][:2]: (row["study"], row["status"], row["seconds"]) for row in listing.rows()}
    assert found == {
        "aa": (None, "failed", None),
        "bb": ("benchmark", "failed", None),
        "cc": ("benchmark", "failed", None),
        "dd": ("benchmark", "completed", 2.5),
    }


def test_damaged_runs_are_listed_as_such_and_what_is_no_run_is_passed_over(write, tmp_path):
    for key in ("aa", "bb", "cc", "dd"):
        write(key)
    aa, bb, cc, _ = sorted(tmp_path.iterdir())
    (aa / "run.json").write_text('["status"]')
    (bb / "trace.npz").write_text("changed")
    (cc / "SHA256SUMS").unlink()
    (tmp_path / "benchmark.csv").write_text("no run")
    (tmp_path / "backup").mkdir()
    (tmp_path / ("e" * 16)).mkdir()
    (tmp_path / ("f" * 16)).write_text("no folder")
    found = {row["key"][:2]: row["status"] for row in listing.rows()}
    assert found == {"aa": "damaged", "bb": "damaged", "cc": "damaged", "dd": "completed", "ee": "damaged"}


def test_no_run_is_looked_for_among_the_failed_ones(write, monkeypatch):
    for number in range(10):
        write(f"a{number}")
        write(f"b{number}", failed=True)
    compared, equal = [], PurePath.__eq__
    monkeypatch.setattr(PurePath, "__eq__", lambda *pair: compared.append(1) or equal(*pair))
    assert len(listing.rows()) == 20
    assert len(compared) < 20


def test_numbers_are_compared_as_numbers_and_patterns_as_text(write):
    write("aa", settings={"eps": 1e-8}, steps=1000)
    write("ab", settings={"eps": 1.23456e-8}, steps=100)
    write("ac", settings={"eps": "1e-8"}, steps=100)
    table = listing.rows()
    assert keys(list_runs.choose(table, ["settings.eps=1e-8"])) == ["aa", "ac"]
    assert keys(list_runs.choose(table, ["settings.eps=0.00000001"])) == ["aa"]
    assert keys(list_runs.choose(table, ["settings.eps=1.23456e-8"])) == ["ab"]
    assert keys(list_runs.choose(table, ["settings.eps=1.235e-08"])) == ["ab"]
    assert keys(list_runs.choose(table, ["steps=1e3"])) == ["aa"]
    assert keys(list_runs.choose(table, ["settings.eps=1e-0*", "key=a*"])) == ["aa"]


def test_conditions_take_patterns_and_all_of_them_count(write):
    write("aa", seed=1)
    write("ab", method="sgd", seed=1)
    write("ba", seed=2)
    table = listing.rows()
    assert keys(list_runs.choose(table, ["key=a*"])) == ["aa", "ab"]
    assert keys(list_runs.choose(table, ["seed=1", "settings.mu=0.1"])) == ["aa"]
    assert keys(list_runs.choose(table, ["method=none"])) == []


def test_accuracies_are_sorted_from_the_top_and_runs_without_one_come_last(write):
    for key, accuracy in (("aa", 0.5), ("bb", 0.9), ("cc", 0.7)):
        write(key, accuracy=accuracy)
    write("dd", failed=True)
    assert keys(list_runs.arrange(listing.rows(), "val_accuracy")) == ["bb", "cc", "aa", "dd"]
    assert keys(list_runs.arrange(listing.rows(), "key")) == ["aa", "bb", "cc", "dd"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method"], "FIELD=VALUE"),
        (["metod=pal"], "did you mean 'method'"),
        (["--sort", "val_acuracy"], "val_accuracy"),
    ],
)
def test_a_mistake_is_one_sentence(write, capsys, words, message):
    write("aa")
    assert cli.main(["runs", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_table_shows_what_differs_and_not_what_is_the_same(write, capsys):
    write("aa", batch_size=32, steps=7)
    write("bb", batch_size=64, steps=7)
    assert cli.main(["runs", "--sort", "val_accuracy"]) == 0
    shown = capsys.readouterr().out
    assert "batch_size" in shown
    assert "steps" not in shown
    assert "2 of 2 runs" in shown


def test_csv_has_every_field_of_every_run(write, capsys):
    write("aa")
    write("bb", method="sgd")
    assert cli.main(["runs", "--study", "benchmark", "--csv", "--limit", "1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert keys(rows) == ["aa", "bb"]
    assert [row["settings.lr"] for row in rows] == ["", "0.1"]


def test_csv_says_what_made_a_run_and_its_structures_are_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAL_RUNS", str(tmp_path))
    run_directory.execute(short(measure={"every": 1}), lambda *_: {"steps": 1})
    assert cli.main(["runs", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert json.loads(row["measure"]) == {"every": 1}
    assert row["provenance.data_sha256"] == checksum("digits")
    assert row["provenance.threads"] == row["threads"] == "1"
    assert {"provenance.commit", "provenance.device", "provenance.instruction_set"} <= set(row)


def test_no_runs_at_all_is_an_empty_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "none"))
    assert cli.main(["runs"]) == 0
    assert "0 of 0 runs" in capsys.readouterr().out


def test_an_unknown_field_has_no_nearest_without_runs():
    with pytest.raises(UserError, match="nothing"):
        list_runs.named([{"key": "a"}], "nothing")


def test_at_80_columns_keys_can_be_copied_and_columns_are_what_sort_and_conditions_take(write):
    write("aa", settings={"mu": 0.1, "alpha": 1.0}, seed=3)
    write("bb", method="sgd", settings={"lr": 0.1, "name": "[/x]"})
    console = Console(width=80)
    with console.capture() as printed:
        console.print(list_runs.as_table(listing.rows(), 40))
    text = printed.get()
    for row in listing.rows():
        assert row["key"] in text.split()
    assert "[/x]" in text
    header = text.splitlines()[2].split()
    for name in header[1:]:
        assert list_runs.arrange(listing.rows(), name)
    for word in ("mu=0.1", "lr=0.1", "seed=3"):
        assert word in text.split()
