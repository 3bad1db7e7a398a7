"""Many runs in slots: what is killed continues, what fails is named, and nothing else is touched."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from small_runs import alive, children, record_folder, short, until

from experiments import planning
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.runs import launcher, run_directory
from experiments.runs.finished import find_finished
from experiments.runs.integrity import FILES, seal
from experiments.runs.key import run_key
from experiments.training.loop import train

LAUNCH = """
import sys
from experiments.runs import launcher
from experiments.training.config import RunConfig
launcher.launch([RunConfig.model_validate_json(text) for text in sys.argv[1:]], slots=1)
"""


def worked_on(config):
    """Whether a worker is in the middle of the run."""
    return (record_folder(config) / "config.json").exists()


def kill_workers(config, times):
    """Kill this process's workers each time one is in the middle of the run."""
    others = set(children(os.getpid()))
    for _ in range(times):
        until(lambda: worked_on(config))
        (record_folder(config) / "config.json").unlink()  # the next worker writes it anew
        workers = set(children(os.getpid())) - others
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        until(lambda: not any(map(alive, workers)))


def test_failed_and_killed_runs_are_named_with_their_logs_and_stop_nothing_else():
    broken = short("lines", seed=0, measure={"first": "x"})  # only the worker finds out
    configs = broken, good, doomed = broken, short(seed=1), short(seed=2, steps=100_000)
    others = set(children(os.getpid()))
    killer = threading.Thread(target=kill_workers, args=(doomed, 2))
    killer.start()
    boards = []
    failures = launcher.launch(configs, slots=1, show=boards.append)
    killer.join()
    assert [failure.name for failure in failures] == [broken.name, doomed.name]
    assert "validation error" in failures[0].reason
    assert "Traceback" in failures[0].log.read_text()
    assert "killed" in failures[1].reason
    assert failures[1].reason in failures[1].log.read_text()
    assert [run.config for run in find_finished(configs)] == [good]
    assert len(boards[-1].finished) + len(boards[-1].failures) == boards[-1].total == 3
    assert set(children(os.getpid())) <= others


def test_one_launch_after_the_other_has_the_same_workers_and_they_end_with_the_context():
    others = set(children(os.getpid()))
    several = [[short(seed=seed), short(seed=seed + 1)] for seed in (0, 2, 4)]
    with launcher.Slots(2) as slots:
        workers = []
        for configs in several:
            assert launcher.launch(configs, slots) == []
            assert len(find_finished(configs)) == 2
            workers.append(set(children(os.getpid())) - others)
    assert len(workers[0]) == 2
    assert workers[0] == workers[1] == workers[2]
    assert not any(map(alive, workers[0]))


def test_workers_that_are_dead_before_they_are_asked_fail_their_runs_and_no_others(tmp_path, monkeypatch):
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nprintf 'lost \\377 GPU' >&2\n")  # no UTF-8
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    others = set(children(os.getpid()))

    def all_dead(_):
        until(lambda: not any(alive(pid) for pid in set(children(os.getpid())) - others))

    monkeypatch.setattr(launcher, "prepare", all_dead)
    configs = [short(seed=seed) for seed in range(2)]
    failures = launcher.launch(configs, slots=1)
    assert [failure.name for failure in failures] == [config.name for config in configs]
    assert all("without an answer" in failure.reason for failure in failures)
    assert all("lost \N{REPLACEMENT CHARACTER} GPU" in failure.log.read_text() for failure in failures)


def test_an_error_of_the_slot_itself_is_the_failure_of_one_run(monkeypatch):
    configs = unlucky, full, good = [short(seed=seed) for seed in range(3)]

    def ask(slot, config):
        if config == unlucky:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # no process can be started
        return {"failure": None} if config == good else None

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(launcher.Slot, "_start", lambda *_: None)
    monkeypatch.setattr(launcher.Slot, "_ask", ask)
    monkeypatch.setattr(run_directory, "failed", no_space)
    boards = []
    failures = launcher.launch(configs, slots=1, show=boards.append)
    assert [failure.name for failure in failures] == [unlucky.name, full.name]
    assert "temporarily unavailable" in failures[0].reason
    assert "No space left" in failures[1].reason
    assert boards[-1].finished == [good]


def test_a_killed_launcher_takes_its_worker_along_and_its_run_can_be_completed():
    config = short(steps=150)
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, config.model_dump_json()], cwd=REPOSITORY)
    until(lambda: worked_on(config))
    (worker,) = children(process.pid)
    process.kill()
    process.wait()
    until(lambda: not alive(worker), seconds=5)
    assert not find_finished([config])
    run_directory.execute(config, train)
    assert find_finished([config])


def test_a_command_that_is_asked_to_end_ends_with_its_workers_at_once():
    (config, *_) = planning.select(planning.plan("quick", "benchmark").runs, "digits-cnn,pal")
    words = ["study", "benchmark", "--only", "digits-cnn,pal", "--slots", "1"]
    process = subprocess.Popen([sys.executable, "-m", "experiments", *words], cwd=REPOSITORY)
    until(lambda: worked_on(config))
    (worker,) = children(process.pid)
    process.terminate()
    assert process.wait(timeout=20) == 130
    assert not alive(worker)


def test_at_the_time_limit_runs_save_a_checkpoint_and_the_next_call_continues_there():
    configs = begun, later = short(steps=100_000), short(seed=1, steps=100_000)
    done, heard = [], []
    show, stop = lambda board: done.append(board.done), lambda: done[-1] > 0
    assert launcher.launch(configs, slots=1, show=show, stop=stop) == []
    assert 0 < max(done) < 1  # how far a run is shows before it ends
    assert not find_finished(configs)
    assert not run_directory.log(begun).exists()
    assert not worked_on(later)
    with pytest.raises(run_directory.Stopped):
        run_directory.execute(begun, train, on_progress=lambda step, _: heard.append(step), stop=lambda: True)
    assert heard[0] > 0


def test_a_worker_ends_with_its_launcher_even_while_it_starts():
    worker = subprocess.Popen(
        [sys.executable, "-m", "experiments", "worker"], cwd=REPOSITORY, stdin=subprocess.PIPE
    )
    worker.stdin.close()
    assert worker.wait(timeout=10) == 0


def test_nothing_is_started_for_finished_runs(monkeypatch):
    configs = [short(seed=seed) for seed in range(2)]
    for config in configs:
        run_directory.execute(config, lambda *_: {"steps": 1})
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a worker was started"))
    assert launcher.launch(configs, slots=2) == []


def test_missing_data_are_said_before_any_run_starts(monkeypatch, runs_root):
    monkeypatch.setenv("PAL_DATA_MIRROR", str(runs_root))
    monkeypatch.setenv("PAL_DATA", str(runs_root / "data"))
    monkeypatch.setattr(launcher.Slot, "_run", lambda *_: pytest.fail("a run was started"))
    before = set(children(os.getpid()))
    with pytest.raises(UserError, match="imagenet"):
        launcher.launch([short(problem="imagenet-resnet50", train_size=None)], slots=1)
    assert not list(runs_root.iterdir())
    assert set(children(os.getpid())) <= before


def test_a_thousand_finished_runs_are_recognised_at_once(runs_root):
    configs = [short(seed=seed) for seed in range(1000)]
    for config in configs:
        folder = runs_root / run_key(config)
        folder.mkdir()
        for name in FILES:
            (folder / name).write_text(config.model_dump_json())
        seal(folder)
    started = time.monotonic()
    assert launcher.launch(configs, slots=1) == []
    assert time.monotonic() - started < 20
