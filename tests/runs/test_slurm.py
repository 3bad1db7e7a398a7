"""What is handed to SLURM, without a SLURM."""

import re
from collections import deque
from pathlib import Path

import pytest
import submitit
import yaml
from hypothesis import given
from hypothesis import strategies as st
from small_runs import short

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.runs import run_directory, slurm
from experiments.runs.key import run_key
from experiments.runs.launcher import Board, Failure

SETTINGS = {"time": 120, "partition": "gpu", "gres": "gpu:1", "cpus_per_task": 8, "mem": "32GB", "slots": 4}
SETTINGS |= {"array_parallelism": 20, "runs_per_task": 3, "setup": ["module load cuda"]}
SETTINGS |= {"sbatch": {"account": "mine"}}


@pytest.fixture
def submission(tmp_path, monkeypatch):
    """The text that would be submitted, by a stand-in for sbatch."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "sbatch"
    command.write_text(f'#!/bin/sh\ncat "$1" > {tmp_path}/text\necho Submitted batch job 7\n')
    command.chmod(0o755)
    for name in ("srun", "squeue"):
        (tmp_path / "bin" / name).symlink_to(command)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "runs"))

    def submit(**changes):
        settings = slurm.Cluster.read(SETTINGS | changes, "cluster.yaml")
        shares = slurm.submit([short(seed=seed) for seed in range(8)], settings, "pal-test")
        return (tmp_path / "text").read_text(), shares

    return submit


def test_the_submission_says_what_the_file_says(submission):
    text, _ = submission()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    expected = {"partition": "gpu", "gres": "gpu:1", "cpus-per-task": "8", "mem": "32GB", "time": "120"}
    expected |= {"account": "mine", "job-name": "pal-test", "array": "0-2%3"}
    assert options.items() >= expected.items()
    assert "requeue" in options
    assert options["signal"].startswith("USR2@90")
    assert "module load cuda" in text
    assert f"--chdir={REPOSITORY}" in text


def test_every_run_is_in_one_share(submission):
    _, shares = submission()
    sizes = [len(configs) for _, configs in shares]
    assert sorted(sizes) == [2, 3, 3]


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("2:00:00", 120),
        ("02:00:01", 121),
        ("1-0", 1440),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:30:30", 2191),
        ("'2:00:00'", 120),
    ],
)
def test_times_are_read_in_every_form_that_slurm_takes(tmp_path, written, minutes):
    path = tmp_path / "cluster.yaml"
    path.write_text(f"time: {written}\n")
    assert slurm.read(str(path)).time == minutes


@pytest.mark.parametrize("word", ["UNLIMITED", "unlimited", "infinite"])
def test_a_task_may_have_no_limit(submission, word):
    text, _ = submission(time=word)
    assert re.findall("--time=(.*)", text) == ["UNLIMITED"]


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_days_hours_minutes_and_seconds_add_up(days, hours, minute, second):
    seconds = 86400 * days + 3600 * hours + 60 * minute + second
    whole = max(1, -(-seconds // 60))
    for words in (f"{days}-{hours}:{minute}:{second}", f"{24 * days + hours}:{minute:02}:{second:02}"):
        if seconds:
            assert slurm.minutes(words) == whole


@pytest.mark.parametrize(
    ("written", "option"),
    [
        ("mem: 32GB", "mem=32GB"),
        ("mem: 8000", "mem=8000"),
        ("mem: 32 G", "mem=32G"),
        ("mem: 0", "mem=0"),
        ("account: 12345", "account=12345"),
        ("account: 0123", "account=0123\n"),
        ("partition: 0x10", "partition=0x10\n"),
        ("mail_user: 1e5", "mail-user=1e5\n"),
        ("account: my-project", "account=my-project"),
        ("mail-user: me@example.org", "mail-user=me@example.org"),
        ("mail_user: me@example.org", "mail-user=me@example.org"),
        ("mail_type: END,FAIL", "mail-type=END,FAIL"),
        ("mail-type: [END, FAIL]", "mail-type=END,FAIL"),
        ("cpus-per-task: 4", "cpus-per-task=4"),
        ("setup: module load cuda", "module load cuda"),
        ("sbatch: {--qos: high}", "--qos=high"),
        ("sbatch: {constraint: 1.10}", "--constraint=1.10\n"),
        ("sbatch: {mem-per-cpu: 4G, exclusive: true}", "--exclusive\n"),
    ],
)
def test_options_are_read_as_people_write_them(submission, tmp_path, written, option):
    path = tmp_path / "cluster.yaml"
    path.write_text(f"time: 5\n{written}\n")
    slurm.submit([short()], slurm.read(str(path)), "pal-test")
    assert option in (tmp_path / "text").read_text()


def test_an_option_that_is_false_is_not_passed_on(submission, tmp_path):
    settings = slurm.Cluster.read(
        SETTINGS | {"sbatch": {"requeue": False, "exclusive": False}}, "cluster.yaml"
    )
    slurm.submit([short()], settings, "pal-test")
    assert not re.search("--requeue|--exclusive", (tmp_path / "text").read_text())


def test_without_runs_that_are_left_slurm_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # without squeue
    monkeypatch.setattr(slurm, "_board", lambda wanted, failures: Board(1, deque(), [short()], []))
    assert slurm.launch([short()], slurm.Cluster.read(SETTINGS, "cluster.yaml"), "test") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time": 0}, ["time is '0'"]),
        ({"time": "2h"}, ["time is '2h'", "HH:MM:SS"]),
        ({"time": "1:2:3:4"}, ["time", "HH:MM:SS"]),
        ({"time": True}, ["time"]),
        ({"mem": "much"}, ["mem is 'much'", "32G"]),
        ({"mem": "1.5G"}, ["mem is '1.5G'"]),
        ({"partitio": "x"}, ["'partitio'", "'partition'"]),
        ({"slots": "two"}, ["slots is 'two'"]),
        ({"slots": 0.5}, ["slots is '0.5'"]),
        ({"slots": 0}, ["slots is 0"]),
        ({"sbatch": {"job-name": "mine"}}, ["sbatch", "job_name cannot be set"]),
    ],
    ids=str,
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, changes, words):
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | changes))
    with pytest.raises(UserError) as caught:
        slurm.read(str(path))
    assert "\n" not in str(caught.value)
    for word in (*words, str(path)):
        assert word in str(caught.value)


def test_a_missing_file_is_one_sentence():
    with pytest.raises(UserError, match=r"there is no file 'no\.yaml'"):
        slurm.read("no.yaml")


def test_the_example_of_the_page_is_allowed():
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    example = re.search(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    settings = slurm.Cluster.read(yaml.safe_load(example), "docs/cluster.md")
    assert settings.threads == 2


@pytest.fixture
def queue(tmp_path, monkeypatch, runs_root):
    """A folder that stands for SLURM: `answer` is what squeue does, `cancelled` what scancel was told."""
    for name, text in {
        "squeue": f". {tmp_path}/answer",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "PATIENCE", 3)
    (tmp_path / "answer").write_text("true")
    return tmp_path


@pytest.fixture
def submitted(queue, monkeypatch):
    """Arrays that were submitted: lists of runs, of which none is ever finished."""
    arrays = []

    def submit(configs, settings, name):
        arrays.append(list(configs))
        return [(submitit.SlurmJob(queue, f"{len(arrays)}"), configs)]

    monkeypatch.setattr(slurm, "submit", submit)
    return arrays


def launch(count, show=lambda _: None):
    configs = [short(seed=seed) for seed in range(count)]
    return slurm.launch(configs, slurm.Cluster.read(SETTINGS, "cluster.yaml"), "mine", show)


def test_tasks_go_on_when_the_queue_does_not_answer(queue, submitted):
    def silence(_):
        if submitted:
            (queue / "answer").write_text("exit 1")

    with pytest.raises(UserError, match="the tasks continue"):
        launch(2, silence)
    assert len(submitted) == 1
    assert not (queue / "cancelled").exists()


def test_ctrl_c_cancels_the_tasks_of_an_earlier_call_too(queue, submitted):
    (queue / "answer").write_text("echo 7_0")
    looks = []

    def interrupt(board):
        looks.append(board)
        if len(looks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(2, interrupt)
    assert not submitted
    assert re.fullmatch(r"--user=\S+ --name=pal-mine-\w+\n", (queue / "cancelled").read_text())


def test_a_failed_run_counts_once_and_is_not_submitted_again(submitted, monkeypatch):
    broken = short(seed=0)
    found = [[Failure(broken.name, "broken", run_directory.log(broken))], []]
    monkeypatch.setattr(slurm, "_failures", lambda _: found.pop(0))
    boards = []
    failures = launch(2, boards.append)
    assert [[config.seed for config in configs] for configs in submitted] == [[0, 1], [1]]
    assert boards[-1].done == 1
    assert [failure.name for failure in failures] == [broken.name, short(seed=1).name]


def test_keys_are_not_worked_out_again_however_long_it_waits(queue, submitted, monkeypatch):
    (queue / "answer").write_text("echo 7_0")
    asked, looks = [], []

    def count(config):
        asked.append(config.seed)
        return run_key(config)

    def end(board):
        looks.append(board)
        if len(looks) == 20:
            (queue / "answer").write_text("true")

    monkeypatch.setattr(slurm, "run_key", count)
    assert len(launch(3, end)) == 3
    assert len(looks) >= 20
    assert len(asked) <= 4 * 3


def test_without_slurm_the_command_says_so(monkeypatch):
    monkeypatch.setenv("PATH", str(Path(__file__).parent))
    with pytest.raises(UserError, match="no squeue on this machine"):
        slurm._queued("pal-test")
