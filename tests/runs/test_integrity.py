"""Bits that flip, files that go missing, disks that are full: nothing of it reaches a table."""

import errno
import itertools
import os
import random
import stat
import threading
from functools import partial
from pathlib import Path

import pytest
from small_runs import quick, record_folder, same_arrays, short

from experiments.cli import main as cli
from experiments.cli import verify
from experiments.common import profiles
from experiments.common.errors import UserError
from experiments.common.paths import write_output, write_whole
from experiments.results import tables
from experiments.runs import checkpoint, integrity, launcher, listing, observer, run_directory
from experiments.runs.finished import find_finished
from experiments.runs.integrity import FILES, NAME, run_folders
from experiments.runs.key import run_key
from experiments.training.loop import train


def flip(path, dice):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def truncate(path, dice):
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def exchange(path, dice):
    """Put the same file of another run there."""
    path.write_bytes((run_directory.execute(short(seed=1), quick) / path.name).read_bytes())


DAMAGES = {
    "flip": flip,
    "truncate": truncate,
    "exchange": exchange,
    "empty": lambda path, _: path.write_bytes(b""),
    "remove": lambda path, _: path.unlink(),
    "folder": lambda path, _: path.unlink() or path.mkdir(),
    "pipe": lambda path, _: path.unlink() or os.mkfifo(path),
    "link to nowhere": lambda path, _: path.unlink() or path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", [*FILES, NAME])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_run_is_named_and_executed_again_and_never_used(name, how, caplog):
    config = short()
    folder = run_directory.execute(config, quick)
    DAMAGES[how](folder / name, random.Random(f"{name} {how}"))
    assert find_finished([config]) == []
    assert str(folder) in caplog.text
    assert "damaged" in [row["status"] for row in listing.rows()]
    run_directory.execute(config, quick)
    (run,) = find_finished([config])
    assert run.result["seed"] == 0
    assert not run_directory.log(config).exists()


def test_a_run_stays_finished_when_the_extension_of_its_things_moves():
    config = short()
    folder = run_directory.execute(config, quick)
    assert integrity.is_whole(folder, config.model_copy(update={"extensions": ["../moved/things.py"]}))
    assert not integrity.is_whole(folder, config.model_copy(update={"seed": 1}))


def swap(first, second):
    """Two runs under each other's key."""
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)


PROFILE = """
benchmark:
  problems: [digits-mlp]
  steps: 4
  evaluate_every: 2
  seeds: [0, 1]
  optimizers: {pal: {}, sgd: {grid: {lr: [0.1]}}}
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Executes a study in this process; returns the content of its tables."""
    (tmp_path / "tiny.yaml").write_text(PROFILE)
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    monkeypatch.setattr(tables, "write", partial(tables.write, root=tmp_path))

    def launch(configs, *_):
        for config in configs:
            run_directory.execute(config, train)
        return []

    monkeypatch.setattr(launcher, "launch", launch)

    def make():
        assert cli.main(["study", "benchmark", "--profile", "tiny"]) == 0
        folder = tables.folder("tiny", "benchmark", tmp_path)
        return {path.name: path.read_bytes() for path in folder.glob("*.csv") if path.name != "times.csv"}

    return make


def test_no_damage_reaches_a_table(made, runs_root):
    wanted, dice = made(), random.Random(0)
    assert len(wanted) > 3
    for how in [*DAMAGES, "swap"]:
        if how == "swap":
            swap(*dice.sample(run_folders(runs_root), 2))
        else:
            files = [
                path for folder in run_folders(runs_root) for path in folder.iterdir() if path.stat().st_size
            ]
            DAMAGES[how](dice.choice(sorted(files)), dice)
        assert made() == wanted


def test_a_run_under_the_key_of_another_is_not_taken_for_it(runs_root, caplog):
    run_directory.execute(short(seed=1), quick).rename(runs_root / run_key(short()))
    assert find_finished([short()]) == []
    assert "directory of another run" in caplog.text


def continued(config, monkeypatch, root, damage):
    """The first step of the second half of a run whose checkpoint was damaged in between, and its trace."""
    monkeypatch.setenv("PAL_RUNS", str(root))
    asked, steps = itertools.count(), []
    with pytest.raises(run_directory.Stopped):
        run_directory.execute(config, train, stop=lambda: next(asked) >= 6)
    damage(record_folder(config).parent / "checkpoint.pt")
    run_directory.execute(config, train, on_progress=lambda step, _: steps.append(step))
    return steps[0], dict(find_finished([config])[0].trace)


PUT = {
    "file": lambda path: path.write_text("content"),
    "folder": lambda path: (path / "run.json").mkdir(parents=True),
    "pipe": os.mkfifo,
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize(
    "place", ["KEY", ".failed/KEY", ".partial/KEY", ".partial/KEY/record", ".partial/KEY/checkpoint.pt"]
)
@pytest.mark.parametrize("what", PUT)
def test_whatever_lies_at_the_place_of_a_run_is_put_aside(place, what, runs_root):
    config = short()
    where = runs_root / place.replace("KEY", run_key(config))
    where.parent.mkdir(parents=True, exist_ok=True)
    PUT[what](where)
    assert find_finished([config]) == []
    run_directory.failed(config, "killed")
    run_directory.execute(config, quick)
    assert find_finished([config])


@pytest.mark.parametrize("name", [".partial", ".failed", ".deleted"])
def test_a_folder_that_is_none_is_named_before_anything_starts(name, runs_root):
    (runs_root / name).touch()
    with pytest.raises(UserError, match=f"{name} is not a folder"):
        run_directory.require_root()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("file", "it is not a folder"),
        ("pipe", "it is not a folder"),
        ("link to nowhere", "it is a link to nowhere, which does not exist"),
        ("link to itself", "it is a link to runs, which does not exist"),
    ],
)
def test_what_lies_in_the_place_of_the_folder_of_runs_is_named(what, reason, tmp_path, monkeypatch):
    PUT[what](tmp_path / "runs")
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "runs"))
    with pytest.raises(UserError, match=f"runs cannot be stored in {tmp_path}/runs: {reason}"):
        run_directory.require_root()


@pytest.mark.parametrize("how", ["flip", "truncate", "empty", "folder", "link to nowhere"])
def test_a_run_with_a_damaged_checkpoint_starts_again(how, tmp_path, monkeypatch, caplog):
    config, dice = short(steps=10), random.Random(how)
    first, wanted = continued(config, monkeypatch, tmp_path / "whole", lambda path: None)
    assert first == 7
    first, trace = continued(config, monkeypatch, tmp_path / how, lambda path: DAMAGES[how](path, dice))
    assert first == 0
    assert same_arrays(trace, wanted)
    assert "damaged; the run starts again" in caplog.text


FOREIGN = ("backup", "notes.txt", "0123456789abcdef", "deadbeef")


def test_foreign_folders_disturb_no_command(runs_root, capsys):
    for name in FOREIGN:
        (runs_root / name).mkdir()
        (runs_root / name / "config.json").write_text("[1, 2]")
    (runs_root / "feedfeedfeedfeed").mkdir()
    words = ["run", "problem=digits-mlp", "optimizer=pal", "steps=4", "--threads=1"]
    assert cli.main(words) == 0
    assert cli.main(["runs"]) == 0
    assert cli.main(["forget", "--profile", "quick"]) == 0
    assert verify.earlier([short()]) == []
    assert {path.name for path in runs_root.iterdir()} >= set(FOREIGN)


def test_a_file_has_the_words_of_one_of_its_writers(tmp_path):
    path, texts = tmp_path / "file", ["a" * 100_000, "b" * 100_000]

    def write(text):
        for _ in range(50):
            write_whole(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    seen = set()
    write(texts[0])
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    assert seen <= set(texts)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can replace devices")
def test_a_device_stays_one(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices can be made here")
    write_output(null, b"text")
    assert null.is_char_device()
    with (tmp_path / "file").open("w+") as file:
        write_output(Path(f"/dev/fd/{file.fileno()}"), b"text")
        assert file.read() == "text"


class Disk:
    """A disk whose room runs out at some writes."""

    def __init__(self, full):
        self.full, self.writes = full, 0

    def write(self, path, content):
        self.writes += 1
        if self.writes in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_whole(path, content)


@pytest.mark.parametrize("first", range(1, 13))
def test_whenever_room_runs_out_a_finished_run_has_all_its_content(first, monkeypatch):
    config, disk = short(seed=first), Disk(range(first, first + 2))
    monkeypatch.setattr(observer, "write_whole", disk.write)
    try:
        run_directory.execute(config, quick)
    except OSError:
        assert not find_finished([config])
        assert "No space left" in run_directory.log(config).read_text()
        disk.full = ()
        run_directory.execute(config, quick)
    (run,) = find_finished([config])
    assert run.info["provenance"]
    assert '"loss"' in (run.directory / "metrics.json").read_text()
    assert run.result["seed"] == config.seed


def test_a_checkpoint_that_finds_no_room_stops_no_run(monkeypatch, caplog):
    config = short(steps=4)
    monkeypatch.setattr(checkpoint, "write_whole", Disk(range(1, 3)).write)
    run_directory.execute(config, train, checkpoint_seconds=0.0)
    assert find_finished([config])
    assert "no checkpoint was saved" in caplog.text
