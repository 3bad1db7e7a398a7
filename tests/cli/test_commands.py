"""The command line: what people see, exit codes, and that a mistake leaves nothing behind."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_runs import Interrupted

from experiments import planning
from experiments.cli import main as cli
from experiments.common import code_digest, profiles
from experiments.common.paths import REPOSITORY
from experiments.common.progress import duration, progress_bar
from experiments.results import missing, tables
from experiments.runs import launcher, run_directory
from experiments.runs.finished import find_finished

SMALL = ["problem=digits-mlp", "steps=6", "evaluate_every=3", "--threads=1"]


def said(capsys):
    """What stands on standard error."""
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", *SMALL], r"optimizer must be one of pal, .*, not None"),
        (["run", *SMALL, "optimizer=pall"], r"'pall'; did you mean 'pal'"),
        (["run", *SMALL, "optimizer=pal", "size.mu=0"], r"'size.mu'.*settings.mu"),
        (["run", *SMALL, "optimizer=pal", "stepps=4"], r"'stepps'; did you mean 'steps'"),
        (["run", *SMALL, "optimizer=pal", "seed=[1"], r"seed=\[1.*YAML"),
        (["run", *SMALL, "optimizer=pal", "train_size=99999"], r"train_size is 99999"),
        (["run", *SMALL, "optimizer=pal", "batch_size=99999"], r"batch_size is 99999"),
        (["run", *SMALL, "optimizer=pal", "seed=4294967296"], r"seed is 4294967296"),
        (["run", *SMALL, "optimizer=pal", "steps=999999999"], r"steps is 999999999"),
        (["run", *SMALL, "optimizer=pal", "study=lines"], r"no field 'study'"),
        (["run", *SMALL, "optimizer=pal", "method='[/x]'"], r"method is '\[/x\]'"),
        (["run", *SMALL, "optimizer=pal", "settings=1", "settings.mu=1"], r"'settings.mu'"),
        (["run", *SMALL, "optimizer=pal", "settings={0}"], r"no setting '0'"),
        (["run", *SMALL, "optimizer=pal", "settings.mu=1" + "0" * 400], r"too large"),
        (["run", "x" * 5000], r"neither FIELD=VALUE nor a file"),
        (["claims", "--profile", "../small"], r"no profile '../small'"),
        (["report", "--profile", "/tmp/small"], r"no profile '/tmp/small'"),
        (["report", "--profile", "paper"], r"results/paper/claims.csv does not exist"),
        (
            ["claims", "--show", "--profile", "paper"],
            r"claims.csv does not exist; .* PROFILE=paper` makes it",
        ),
        (["run", "no-such-file.yaml"], r"'no-such-file.yaml' is neither FIELD=VALUE nor a file"),
        (["study", "benchmark", "--profile", "quik"], r"'quik'.*did you mean 'quick'"),
        (["study", "benchmarks", "--profile", "quick"], r"'benchmarks'; did you mean 'benchmark'"),
        (["forget", "--profile", "quik"], r"'quik'.*did you mean 'quick'"),
        (["study", "--only", "paal"], r"'paal'; did you mean 'pal'"),
        (["study", "--only", "seed=7"], r"'seed=7'.*'seed="),
        (["study", "--only", "pal,cocob"], r"no run matches all words of 'pal,cocob'"),
        (["study", "--only", " , "], r"pattern is empty"),
        (["data", "cifar11"], r"'cifar11'; did you mean 'cifar10'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2_and_nothing_is_written(words, sentence, capsys, runs_root):
    assert cli.main(words) == 2
    text = said(capsys)
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert re.search(sentence, text)
    assert not list(runs_root.iterdir())


def test_a_long_mistake_is_one_short_line(capsys):
    assert cli.main(["report", "--profile", "x\n" * 50_000]) == 2
    text = said(capsys)
    assert re.search(r"^error: there is no profile 'x.* \.\.\. .*known are .*paper, .*taste\n$", text)
    assert len(text) < 1100


def test_a_gpu_that_is_not_there_is_said_before_anything_starts(capsys, runs_root, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cli.main(["run", *SMALL, "optimizer=pal", "device=cuda"]) == 2
    assert "'cuda'" in said(capsys)
    assert not list(runs_root.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["study", "benchmark", "--slots", "0"],
        ["study", "benchmark", "--time-limit", "2"],
        ["study", "benchmark", "--time-limit", "0h"],
        ["study", "benchmark", "lines"],
        ["run"],
        ["run", "--slots"],
        ["runn"],
        [],
    ],
)
def test_a_word_out_of_place_is_answered_with_the_usage(words, capsys):
    assert cli.main(words) == 2
    assert "Usage:" in said(capsys)


@pytest.mark.parametrize(("variable", "value"), [("SLOTS", "two"), ("TIME_LIMIT", "2 hours")])
def test_what_make_passes_on_is_checked_too(variable, value, monkeypatch, capsys):
    monkeypatch.setenv(f"PAL_{variable}", value)
    assert cli.main(["study", "benchmark"]) == 2
    assert re.search(f"--{variable.lower().replace('_', '-')}'.*'{value}'", said(capsys))


@pytest.mark.parametrize("started", ["", "now", "nan", "1e400", "-1"])
def test_a_time_limit_counts_from_now_where_make_has_not_said_when_it_started(started, monkeypatch):
    monkeypatch.setenv("PAL_STARTED", started)
    assert cli._started() == pytest.approx(time.monotonic(), abs=10)


def test_one_training_is_shown_kept_shown_again_and_done_anew_when_forced(capsys, runs_root):
    words = ["run", *SMALL, "optimizer=pal", "settings.mu=1e-1"]
    assert cli.main(words) == 0
    first = capsys.readouterr()
    (directory,) = runs_root.glob("[0-9a-f]*")
    assert "test_accuracy" in first.out
    assert str(directory) in first.out
    assert "0/6" in first.err
    assert "6/6 done, training loss" in first.err
    made = (directory / "run.json").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert "--force" in capsys.readouterr().out
    assert (directory / "run.json").stat().st_mtime_ns == made
    assert cli.main([*words, "--force"]) == 0
    assert "--force" not in capsys.readouterr().out
    assert (directory / "run.json").stat().st_mtime_ns != made


@pytest.fixture
def killed(monkeypatch):
    """Executes a command that is killed while it deletes its first run."""

    def unlucky(folder, **_):
        if folder.exists():
            (folder / "run.json").unlink(missing_ok=True)
            raise Interrupted

    def execute(words):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", unlucky)
            with pytest.raises(Interrupted):
                cli.main(words)

    return execute


def test_a_forced_run_that_is_killed_while_the_old_one_is_deleted_is_not_finished(capsys, killed):
    words = ["run", *SMALL, "optimizer=pal"]
    assert cli.main(words) == 0
    killed([*words, "--force"])
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "is finished" not in capsys.readouterr().out


def test_a_file_and_words_together_make_a_run(tmp_path):
    from experiments.cli import run as single

    file = tmp_path / "run.yaml"
    file.write_text(
        yaml.safe_dump({"problem": "digits-mlp", "optimizer": "pal", "settings": {"mu": 0.3}, "seed": 1})
    )
    config = single.read([str(file), "seed=2", "settings.alpha=1.5"])
    assert (config.seed, config.settings["mu"], config.settings["alpha"]) == (2, 0.3, 1.5)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile `tiny` with two runs, executed in this process; the studies whose tables were written."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    section = {"problems": ["digits-mlp"], "steps": 2, "seeds": [0, 1], "optimizers": {"pal": {}}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"benchmark": section}))
    written = []
    monkeypatch.setattr(
        tables, "write", lambda study, name, finished: written.append((study, name, len(finished)))
    )
    monkeypatch.setattr(missing, "_path", lambda profile, study, _: tmp_path / study / "missing.csv")
    return written


def in_this_process(configs, slots, show, stop):
    """Stands for the launcher: the run with seed 1 fails as long as it is told to."""
    failures = []
    for config in configs:
        if config.seed == 1 and in_this_process.failing:
            log = run_directory.failed(config, "MemoryError: [all] gone")
            failures.append(launcher.Failure(config.name, "MemoryError: [all] gone", log))
        else:
            run_directory.execute(config, lambda *_: {"steps": 1})
    return failures


def test_a_study_with_a_failed_run_names_it_and_ends_with_1_and_the_next_call_completes(
    profile, monkeypatch, capsys
):
    monkeypatch.setattr(launcher, "launch", in_this_process)
    in_this_process.failing = True
    words = ["study", "benchmark", "--profile", "tiny", "--slots", "2"]
    assert cli.main(words) == 1
    text = said(capsys)
    (failed,) = [config for config in planning.plan("tiny", "benchmark").runs if config.seed == 1]
    assert failed.name in text
    assert "MemoryError: [all] gone" in text
    assert str(run_directory.log(failed)) in text
    assert profile == [("benchmark", "tiny", 1)]
    left = missing.read("tiny", "benchmark")
    assert left[["seed", "state", "reason"]].values.tolist() == [[1, "failed", "MemoryError: [all] gone"]]
    in_this_process.failing = False
    assert cli.main(words) == 0
    assert profile[1:] == [("benchmark", "tiny", 2)]
    assert missing.read("tiny", "benchmark").empty
    assert cli.main(["forget", "--profile", "tiny"]) == 0
    assert not find_finished(planning.plan("tiny", "benchmark").runs)
    assert "2 runs" in said(capsys)


def test_tables_of_deleted_runs_say_what_they_lack_until_the_runs_are_made_again(
    profile, monkeypatch, tmp_path
):
    """By missing.csv DVC knows that the study is out of date."""
    monkeypatch.setattr(launcher, "launch", in_this_process)
    in_this_process.failing = False
    words = ["--profile", "tiny", "--only", "seed=1"]
    assert cli.main(["study", "--profile", "tiny"]) == 0
    assert cli.main(["forget", *words]) == 0
    assert missing.read("tiny", "benchmark").empty  # there are no tables
    (tmp_path / "benchmark").mkdir(exist_ok=True)
    (tmp_path / "benchmark" / "times.csv").touch()
    monkeypatch.setattr(tables, "folder", lambda _, study: tmp_path / study)
    assert cli.main(["forget", *words]) == 0
    assert missing.read("tiny", "benchmark")["seed"].tolist() == [1]
    assert cli.main(["forget", "--profile", "tiny"]) == 0
    assert missing.read("tiny", "benchmark")["seed"].tolist() == [0, 1]
    monkeypatch.undo()


def test_what_a_killed_forget_has_begun_to_delete_is_not_finished_and_the_next_one_sweeps_it(
    profile, killed, runs_root
):
    configs = planning.plan("tiny", "benchmark").runs
    for _ in range(2):
        for config in configs:
            run_directory.execute(config, lambda *_: {"steps": 1})
        killed(["forget", "--profile", "tiny"])
        assert all((run.directory / "run.json").exists() for run in find_finished(configs))
    assert cli.main(["forget", "--profile", "tiny"]) == 0
    assert not find_finished(configs)
    assert not list((runs_root / ".deleted").iterdir())


def test_a_study_at_its_time_limit_says_how_much_is_left_and_has_tables_of_the_rest(
    profile, monkeypatch, capsys
):
    def one_run(configs, slots, show, stop):
        run_directory.execute(configs[0], lambda *_: {"steps": 1})
        now = time.monotonic()
        assert not stop()
        monkeypatch.setattr(time, "monotonic", lambda: now + 5401)
        assert stop()
        return []

    monkeypatch.setattr(launcher, "launch", one_run)
    assert cli.main(["study", "--profile", "tiny", "--time-limit", "1.5h"]) == 75
    assert "1 of 2 runs left; the same command resumes" in said(capsys)
    assert profile == [("benchmark", "tiny", 1)]


def test_after_the_time_limit_no_study_starts_anything_and_finished_ones_get_their_tables(
    profile, monkeypatch, capsys, tmp_path
):
    few = {"problems": ["digits-mlp"], "steps": 2, "seeds": [0]}
    sections = {
        "benchmark": few | {"optimizers": {"pal": {}}},
        "lines": few | {"measure": {"first": 1, "even": 1, "points": 9}},
        "exactness": few | {"evaluate_every": 2, "methods": {"pal": {"optimizer": "pal"}}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(sections))
    for config in planning.plan("tiny", "exactness").runs:
        run_directory.execute(config, lambda *_: {"steps": 1})
    started = []

    def time_passes(configs, *_):
        started.append(configs[0].study)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 5401)
        return []

    monkeypatch.setattr(launcher, "launch", time_passes)
    assert cli.main(["study", "--profile", "tiny", "--time-limit", "1.5h"]) == 75
    assert started == ["benchmark"]
    text = said(capsys)
    assert "benchmark: time limit reached, 1 of 1 runs left" in text
    assert "lines: time limit reached, 1 of 1 runs left" in text
    assert profile == [("exactness", "tiny", 1)]


def test_only_runs_what_matches_every_word_and_names_the_others(profile, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "launch", in_this_process)
    in_this_process.failing = True  # of the run with seed 1
    assert cli.main(["study", "--profile", "tiny", "--only", "digits-*,pal,seed=0"]) == 0
    assert "benchmark contain 1 runs; missing.csv lists 1 others" in said(capsys)
    assert profile == [("benchmark", "tiny", 1)]
    assert [run.config.seed for run in find_finished(planning.plan("tiny", "benchmark").runs)] == [0]


def test_a_dry_run_counts_and_estimates_and_leaves_nothing(profile, capsys, runs_root):
    assert cli.main(["study", "--profile", "tiny", "--dry-run"]) == 0
    row = re.compile(r"benchmark\W+digits-mlp\W+pal\W+(\d+)\W+(\d+)\W+(\d+)\W+\d+ s")
    assert row.search(capsys.readouterr().out).groups() == ("2", "0", "2")
    assert not list(runs_root.iterdir())
    first, _ = planning.plan("tiny", "benchmark").runs
    run_directory.execute(first, lambda *_: {"steps": 1})
    assert cli.main(["study", "--profile", "tiny", "--dry-run"]) == 0
    assert row.search(capsys.readouterr().out).groups() == ("2", "1", "1")


def test_a_dry_run_for_a_cluster_counts_its_tasks_and_slots(profile, capsys, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("{time: 1, array_parallelism: 5, runs_per_task: 1, slots: 3}")
    assert cli.main(["study", "--profile", "tiny", "--dry-run", "--slurm", str(file)]) == 0
    assert "slots: 6" in capsys.readouterr().out  # two runs are two tasks, not five


@pytest.mark.parametrize("edited", [False, True])
def test_no_tables_are_made_of_half_the_runs(profile, monkeypatch, capsys, edited):
    """Such as when somebody edits the code meanwhile: workers know the runs by other keys."""
    monkeypatch.setattr(launcher, "launch", lambda *_: [])
    monkeypatch.setattr(code_digest, "changed", lambda: edited)
    assert cli.main(["study", "benchmark", "--profile", "tiny"]) == 2
    expected = (
        "the code or profiles/tiny.yaml has changed"
        if edited
        else "2 of 2 runs are neither finished nor failed"
    )
    assert expected in said(capsys)
    assert profile == []


def test_a_profile_that_is_edited_meanwhile_is_not_called_done_until_its_runs_are(
    profile, monkeypatch, capsys, tmp_path
):
    file = tmp_path / "tiny.yaml"

    def edit(*arguments):
        file.write_text(file.read_text().replace("- 1", "- 1\n  - 2"))
        return in_this_process(*arguments)

    in_this_process.failing = False
    monkeypatch.setattr(launcher, "launch", edit)
    words = ["study", "benchmark", "--profile", "tiny"]
    assert cli.main(words) == 2
    assert "profiles/tiny.yaml has changed during the runs" in said(capsys)
    monkeypatch.setattr(launcher, "launch", in_this_process)
    assert cli.main(words) == 0
    assert profile == [("benchmark", "tiny", 2), ("benchmark", "tiny", 3)]


@pytest.mark.parametrize("number", sorted(cli.FAULTS))
def test_a_fault_of_the_machine_is_one_sentence_that_names_the_file(number, profile, monkeypatch, capsys):
    def broken(*_):
        raise OSError(number, os.strerror(number), "results/lines.csv")

    in_this_process.failing = False
    monkeypatch.setattr(launcher, "launch", in_this_process)
    monkeypatch.setattr(tables, "write", broken)
    assert cli.main(["study", "benchmark", "--profile", "tiny"]) == 2
    (line,) = said(capsys).strip().splitlines()[-1:]
    assert line.startswith(f"error: results/lines.csv: {os.strerror(number)}; ")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch.so: failed to map segment from shared object"),
        ModuleNotFoundError("No module named 'mistune'", name="mistune"),
        MemoryError(),
    ],
    ids=repr,
)
def test_a_package_that_cannot_be_loaded_is_one_sentence(error, profile, monkeypatch, capsys):
    def broken(*_):
        raise error

    in_this_process.failing = False
    monkeypatch.setattr(launcher, "launch", in_this_process)
    monkeypatch.setattr(tables, "write", broken)
    assert cli.main(["study", "benchmark", "--profile", "tiny"]) == 2
    line = said(capsys).strip().splitlines()[-1]
    said_of_it = f"{type(error).__name__}: {error}".removesuffix(": ")
    assert line.startswith(f"error: {said_of_it}; memory is short")
    error.name = "experiments.nothing"
    if isinstance(error, ImportError):
        with pytest.raises(ImportError):
            cli.main(["study", "benchmark", "--profile", "tiny"])


def test_output_that_finds_no_room_is_one_sentence():
    for words in (["runs"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "experiments", *words],
                cwd=REPOSITORY,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert done.returncode == 2
        assert done.stderr.startswith("error: writing to standard output: No space left")
        assert done.stderr.count("\n") == 1


def test_ctrl_c_says_that_the_same_command_resumes(profile, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "launch", interrupted)
    assert cli.main(["study", "benchmark", "--profile", "tiny"]) == 130
    assert "the same command resumes" in said(capsys)


def test_a_notebook_says_where_its_page_and_figures_are(monkeypatch, capsys):
    monkeypatch.setattr("experiments.reports.execution.execute_some", lambda *_: None)
    assert cli.main(["notebook", "capacity", "--profile", "quick"]) == 0
    page, figures = capsys.readouterr().out.split()
    assert page.endswith("reports/quick/capacity.html")
    assert figures.endswith("figures/quick/capacity/")


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "--help"],
        cwd=REPOSITORY,
        env=dict(os.environ, COLUMNS="80"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    for command in ("run", "study", "claims", "notebook", "report", "data", "problems", "forget"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)
    assert "..." not in done.stdout.partition("Commands:")[2]  # each description fits on its line


def test_help_is_quick_since_it_does_not_import_torch():
    words = "import sys; from experiments.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_what_trains_nothing_does_not_import_the_compiler_of_torch():
    words = "import sys; from experiments import planning; planning.plan('quick', 'benchmark'); "
    words += "sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


def test_without_a_terminal_progress_is_a_line_now_and_then(caplog):
    caplog.set_level("INFO")
    with progress_bar("lines: runs") as show:
        for done in (50, 50.5, 60, 100, 100):
            show(done, 100, "1 failed")
    first, last = caplog.messages
    assert first == "lines: runs: 50/100 1 failed"
    assert last == "lines: runs: 100/100 done, 1 failed"
