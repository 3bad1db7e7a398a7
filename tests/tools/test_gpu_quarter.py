"""A quarter of an hour on a GPU: what stops a part costs that part alone, and runs that were kept go on elsewhere."""

import importlib
import json
import signal
import sys
import time

import pytest
from small_runs import Memory, alive, same_arrays, short

from experiments.common import profiles
from experiments.data.cifar import CIFAR10
from experiments.optimizers.registry import OPTIMIZERS
from experiments.runs import run_directory
from experiments.runs.finished import Trace
from experiments.runs.run_directory import Stopped
from experiments.studies.base import get_study
from experiments.training.loop import train
from tools.gpu_quarter import __main__ as quarter
from tools.gpu_quarter import archive, benchmark, training
from tools.gpu_quarter.parts import Part, execute, full

PATIENT = (
    "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open({!r}, 'w').write('found')"
)
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({!r}, "w").write(str(child.pid))
time.sleep(60)
"""


def part(code, **how):
    return Part("a part", [sys.executable, "-c", code], **how)


def test_a_part_at_its_limit_says_what_it_has_found(tmp_path):
    place = tmp_path / "found"
    assert execute(part(PATIENT.format(str(place)), seconds=1.0), left=60.0).startswith(
        "stopped at its limit"
    )
    assert place.read_text() == "found"


def test_a_part_that_does_not_listen_is_killed_with_all_that_it_has_started(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.gpu_quarter.parts.GRACE", 0.2)
    place = tmp_path / "pid"
    assert "killed" in execute(part(STUBBORN.format(str(place)), seconds=1.0), left=60.0)
    end = time.monotonic() + 10
    while alive(int(place.read_text())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(int(place.read_text()))


def test_no_part_has_more_time_than_is_left(tmp_path):
    tests, bench, paper = full(tmp_path)
    assert [each.limit(500.0) for each in (tests, bench, paper)] == [90.0, 240.0, 500.0]
    assert tests.limit(30.0) == 30.0
    assert execute(tests, left=-1.0) == "left out: no time"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The command with parts of the test's own; gives its minutes by part."""

    def called(*codes, seconds=90.0):
        monkeypatch.setattr(quarter, "INVENTORY", part("pass"))
        monkeypatch.setattr(quarter, "full", lambda _: [part(code, seconds=seconds) for code in codes])
        monkeypatch.setattr(sys, "argv", ["gpu_quarter", "--out", str(tmp_path)])
        quarter.main()
        return (tmp_path / "minutes.txt").read_text().splitlines()

    usual = signal.getsignal(signal.SIGTERM)
    yield called
    signal.signal(signal.SIGTERM, usual)


def test_a_part_that_fails_costs_itself_alone(call):
    _, first, second, third = call("raise SystemExit(3)", "import time; time.sleep(60)", "pass", seconds=1.0)
    assert first.endswith("exit 3")
    assert "stopped at its limit" in second
    assert third.endswith("exit 0")


def test_a_stop_from_outside_ends_the_part_under_way_and_keeps_the_others(call, tmp_path):
    terminate = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    with pytest.raises(SystemExit):
        call("pass", terminate, "pass")
    assert len((tmp_path / "minutes.txt").read_text().splitlines()) == 2


def test_the_runs_are_among_those_of_the_paper():
    ours, (paper, *_) = training.PAPER, profiles.sections("paper")["benchmark"]
    get_study("benchmark").settings.read(ours, "here")
    assert set(ours) == set(paper)
    assert ours["seeds"] == paper["seeds"]
    assert set(ours["problems"]) < set(paper["problems"])
    for name, method in ours["optimizers"].items():
        whole = paper["optimizers"][name]
        assert method | {"grid": 0} == whole | {"grid": 0}
        assert set(method["grid"]) == set(whole["grid"])
        assert all(set(values) <= set(whole["grid"][key]) for key, values in method["grid"].items())


def test_the_time_limit_ends_all_seeds_and_a_failure_only_its_own(tmp_path, monkeypatch):
    codes, asked = iter([training.OTHER_FAILED, 75]), []
    monkeypatch.setattr(training, "train", lambda seed, *_: asked.append(seed) or next(codes))
    monkeypatch.setattr(training, "REPOSITORY", tmp_path)
    monkeypatch.setattr(archive, "REPOSITORY", tmp_path)
    monkeypatch.setattr(sys, "argv", ["training", "--out", str(tmp_path), "--seconds", "60"])
    (tmp_path / "profiles").mkdir()
    training.main()
    assert asked == [0, 1]
    assert len(archive.pieces(tmp_path)) == 1


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout whose only profile has been reported on."""
    for name in ("profiles/mine.yaml", "results/mine/packs/benchmark.tar.xz"):
        (tmp_path / "first" / name).parent.mkdir(parents=True)
        (tmp_path / "first" / name).write_text("content")
    monkeypatch.setattr(archive, "REPOSITORY", tmp_path / "first")
    return tmp_path


def test_a_run_that_was_kept_goes_on_elsewhere_as_if_it_had_never_been_stopped(
    repository, runs_root, monkeypatch
):
    config, taken = short(), []
    with pytest.raises(Stopped):
        run_directory.execute(
            config, train, on_progress=lambda step, _: taken.append(step), stop=lambda: True
        )
    monkeypatch.setattr(archive, "PIECE", 20_000)
    archive.keep(repository, "mine")
    pieces = archive.keep(repository, "mine")
    assert archive.pieces(repository) == pieces
    assert len(pieces) > 1

    monkeypatch.setenv("PAL_RUNS", str(repository / "elsewhere"))
    monkeypatch.setattr(archive, "REPOSITORY", repository / "second")
    archive.restore(pieces)
    assert (repository / "second/results/mine/packs/benchmark.tar.xz").read_text() == "content"
    assert (repository / "second/profiles/mine.yaml").is_file()
    resumed: list[int] = []
    place = run_directory.execute(config, train, on_progress=lambda step, _: resumed.append(step))
    assert resumed[0] == 1
    whole = Memory()
    train(config, whole)
    assert same_arrays(dict(Trace(place / "trace.npz")), whole.arrays)


def test_random_pixels_stand_in_for_data_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_DATA", str(benchmark.stand_in(tmp_path, 40, 10)))
    assert CIFAR10.arrays()["train_images"].shape == (40, 3, 32, 32)
    assert CIFAR10.source() == benchmark.TITLE


@pytest.fixture
def gpu(monkeypatch):
    """The benchmark, whose optimizer other tests must not see."""
    module = importlib.import_module("benchmarks.gpu")
    spec = OPTIMIZERS.pop(module.FLOOR)
    monkeypatch.setitem(OPTIMIZERS, module.FLOOR, spec)
    monkeypatch.setattr(module, "MODES", module.MODES[:1])
    return module


def test_a_measurement_that_fails_is_a_row_and_others_follow(gpu, tmp_path):
    bench = gpu.Bench("cpu", 0.0)
    rows = [
        row
        for problem in ("absent", "digits-mlp")
        for row in gpu.attempted(problem, gpu.MODES[0], bench.alone(problem, gpu.MODES[0]))
    ]
    assert [row.quantity for row in rows] == ["failed", gpu.SPEED, gpu.SPEED, gpu.RATIO]
    assert "absent" in rows[0].note
    for row in rows:
        gpu.append(tmp_path / "rows", row._asdict())
    lines = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert lines[3]["value"] == rows[3].value > 1.0
    assert len(list(gpu.tables(rows[1:]))) == 1
