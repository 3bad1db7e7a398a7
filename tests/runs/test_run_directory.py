"""A run's directory: complete or not there, with everything a person needs to judge the run."""

import itertools
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
import torch
from small_runs import Interrupted, Memory, quick, record_folder, same_arrays, short, until

from experiments.common.paths import REPOSITORY
from experiments.data import dataset
from experiments.runs import checkpoint, run_directory
from experiments.runs.finished import delete_runs, find_finished
from experiments.runs.key import run_key
from experiments.training.loop import train


def test_a_finished_run_is_read_back_as_it_was_recorded(runs_root):
    config = short()
    directory = run_directory.execute(config, quick)
    (run,) = find_finished([short(seed=1), config])
    assert directory == run.directory == runs_root / run_key(config)
    memory = Memory()
    assert run.result == quick(config, memory)
    assert same_arrays(run.trace, memory.arrays)
    assert len(run.trace) == 1
    assert run.seconds > 0
    metrics = json.loads((directory / "metrics.json").read_text())
    assert (metrics["loss"]["values"], metrics["loss"]["steps"]) == ([0.5], [1])
    assert "seed 0" in (directory / "cout.txt").read_text()
    recorded = json.loads((directory / "config.json").read_text())
    assert recorded["settings"] == config.settings
    assert recorded["key"] == run_key(config)
    assert not list((runs_root / ".partial").iterdir())


def test_a_run_records_where_it_comes_from():
    run_directory.execute(short(), quick)
    found = find_finished([short()])[0].info["provenance"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    assert found["commit"] == (head.stdout.strip() or None)
    assert isinstance(found["dirty"], bool)
    assert len(found["lock_sha256"]) == 64
    assert found["data_sha256"] == dataset.checksum("digits")
    assert found["torch"] == torch.__version__
    assert found["device_type"] in ("cpu", "cuda")
    assert found["device"]
    assert {"python", "cuda", "cudnn", "driver", "threads"} <= set(found)


def test_a_finished_run_is_not_run_again():
    run_directory.execute(short(), quick)
    run_directory.execute(short(), lambda *_: pytest.fail("it ran again"))


def test_a_failed_run_leaves_its_output_and_the_reason_and_is_tried_again(runs_root):
    def fail(config, record):
        print("about to fail")  # noqa: T201
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        run_directory.execute(short(), fail)
    assert not find_finished([short()])
    text = run_directory.log(short()).read_text()
    assert "about to fail" in text
    assert "RuntimeError: out of luck" in text
    assert "in fail" in text
    run_directory.execute(short(), quick)
    assert find_finished([short()])
    assert not run_directory.log(short()).exists()


def test_an_interrupted_run_is_neither_finished_nor_failed():
    def interrupt(config, record):
        raise Interrupted

    with pytest.raises(Interrupted):
        run_directory.execute(short(), interrupt)
    assert not find_finished([short()])
    assert not run_directory.log(short()).exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_no_metrics(value):
    def log(config, record):
        record.metric("loss", value, 3)

    with pytest.raises(ValueError, match=r"'loss' is (nan|inf) at step 3"):
        run_directory.execute(short(), log)


def test_the_run_is_elsewhere_until_it_is_finished(runs_root):
    def look(config, record):
        assert not (runs_root / run_key(config)).exists()
        assert record_folder(config).is_dir()
        return quick(config, record)

    run_directory.execute(short(), look)
    assert not record_folder(short()).exists()


def test_all_files_of_a_run_are_on_disk_before_it_counts_as_finished(runs_root, monkeypatch):
    config, safe = short(), {}

    def sync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert not (runs_root / run_key(config)).exists()
        safe[path.name] = path.stat().st_size

    monkeypatch.setattr(os, "fsync", sync)
    finished = run_directory.execute(config, quick)
    files = {path.name: path.stat().st_size for path in finished.iterdir()}
    assert "trace.npz" in files
    assert files.items() <= safe.items()
    assert "record" in safe  # the folder itself


def test_an_open_lock_that_nfs_keeps_under_another_name_is_no_reason_to_fail(runs_root, monkeypatch):
    def unlink(path, *, dir_fd=None):
        if str(path).endswith("lock"):
            os.rename(path, ".nfs0001", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            remove(path, dir_fd=dir_fd)

    remove = os.unlink
    monkeypatch.setattr(os, "unlink", unlink)
    run_directory.execute(short(), quick)
    assert [path.name for path in record_folder(short()).parent.iterdir()] == [".nfs0001"]
    delete_runs(find_finished([short()]))
    run_directory.execute(short(), quick)  # what is left stands in nobody's way
    assert find_finished([short()])


def test_two_who_want_the_same_run_execute_it_once():
    started, count = threading.Event(), []

    def slow(config, record):
        count.append(1)
        started.set()
        until(lambda: second.is_alive())
        return quick(config, record)

    first, second = (threading.Thread(target=run_directory.execute, args=(short(), slow)) for _ in range(2))
    first.start()
    started.wait()
    second.start()
    first.join()
    second.join()
    assert len(count) == 1


def numbers(directory):
    """What must not depend on where a run was cut."""
    metrics = json.loads((directory / "metrics.json").read_text())
    files = [(directory / name).read_bytes() for name in ("trace.npz", "config.json")]
    return files, {name: (series["values"], series["steps"]) for name, series in metrics.items()}


def test_a_run_cut_into_five_pieces_is_the_uncut_run_bit_by_bit(tmp_path, monkeypatch):
    config, heard = short(settings={"beta": 0.4}, steps=50), []
    for _ in range(4):
        steps = itertools.count()
        with pytest.raises(run_directory.Stopped):
            run_directory.execute(config, train, stop=lambda steps=steps: next(steps) >= 10)
    saved = checkpoint.load(record_folder(config).parent / "checkpoint.pt")["seconds"]
    cut = run_directory.execute(config, train, on_progress=lambda step, _: heard.append(step))
    assert 40 < heard[0] < 50
    assert 0 < saved < json.loads((cut / "info.json").read_text())["seconds"]
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "others"))
    assert numbers(cut) == numbers(run_directory.execute(config, train))
