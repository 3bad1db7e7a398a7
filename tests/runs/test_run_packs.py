"""Packs of runs: what comes out is what went in, and nothing else is ever taken for a run."""

import errno
import hashlib
import io
import itertools
import lzma
import os
import random
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import Interrupted, quick, short

from experiments.common.errors import UserError
from experiments.runs import run_directory, run_packs
from experiments.runs.finished import find_finished
from experiments.runs.integrity import CHANGES, FILES, NAME, damage, run_folders, seal
from experiments.runs.key import run_key

CONFIGS = [short(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder of three finished runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAL_RUNS", str(tmp_path_factory.mktemp("made")))
        return [run_directory.execute(config, quick) for config in CONFIGS]


@pytest.fixture
def pack(made, own_packs):
    """The pack of these runs."""
    path = run_packs.path_of("small", "benchmark")
    assert run_packs.write(path, made)
    return path


def contents(folder):
    """Every file of every run of a folder."""
    return {
        f"{run.name}/{path.name}": path.read_bytes()
        for run in run_folders(Path(folder))
        for path in run.iterdir()
    }


def refused(path, runs_root):
    """Its reason; nothing of the pack may be left anywhere."""
    before = contents(runs_root)
    with pytest.raises(UserError) as error:
        run_packs.unpack(path)
    assert contents(runs_root) == before
    assert not list(runs_root.glob(".unpacked/runs"))
    text = str(error.value)
    assert path.name in text
    assert "\n" not in text
    return text


def test_runs_come_out_as_they_went_in_and_only_once(pack, made, runs_root):
    assert run_packs.unpack(pack) == 3
    assert contents(runs_root) == contents(made[0].parent)
    found = find_finished(CONFIGS)
    assert [run.result["seed"] for run in found] == [0, 1, 2]
    assert all(damage(run.directory) is None for run in found)
    assert run_packs.unpack(pack) == 0
    assert not list((runs_root / ".partial").iterdir())


def test_tar_opens_a_pack_and_its_first_file_is_a_list_of_checksums(pack, made, tmp_path):
    with tarfile.open(pack) as archive:
        archive.extractall(tmp_path, filter="data")
    assert contents(tmp_path) == contents(made[0].parent)
    for line in (tmp_path / NAME).read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_the_same_runs_make_the_same_pack_wherever_they_are(pack, made, runs_root, tmp_path):
    run_packs.unpack(pack)
    other = tmp_path / "other.tar.xz"
    assert run_packs.write(other, reversed(run_folders(runs_root)))
    assert other.read_bytes() == pack.read_bytes()
    assert not run_packs.write(pack, made)
    assert run_packs.write(pack, made[:2])
    assert len(run_packs.read_sums(pack)) == 2


def test_a_pack_that_another_version_of_xz_has_written_stays_as_it_is(pack, made):
    content = lzma.compress(lzma.decompress(pack.read_bytes()), preset=0)
    pack.write_bytes(content)
    assert not run_packs.write(pack, made)
    assert pack.read_bytes() == content


def test_a_damaged_pack_is_not_taken_for_one_that_is_up_to_date(pack, made):
    content = bytearray(pack.read_bytes())
    content[-20] ^= 1
    pack.write_bytes(content)
    with pytest.raises(UserError, match="refused"):
        run_packs.write(pack, made)


def test_whichever_byte_is_flipped_the_pack_is_refused(pack, runs_root):
    content, dice = pack.read_bytes(), random.Random(0)
    places = [*range(40), *dice.sample(range(len(content)), 60), *range(len(content) - 40, len(content))]
    for place in places:
        pack.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]
        )
        refused(pack, runs_root)
    pack.write_bytes(content)
    assert run_packs.unpack(pack) == 3


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_pack_that_is_cut_short_or_goes_on_is_refused(part, pack, runs_root):
    content = pack.read_bytes()
    pack.write_bytes(content[: int(part * len(content))])
    refused(pack, runs_root)
    pack.write_bytes(content + content[: 1 + int(part * len(content))])
    assert "there is more data after its end" in refused(pack, runs_root)


def plain(name, content=b""):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def with_holes(name):
    """A file of a gigabyte of nothing, in the words of GNU tar."""
    member, content = plain(name, b"0\n".ljust(512, b"\0"))
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**30)}
    return member, content


def written(path, members):
    """A tar.xz of any members."""
    with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def members(pack):
    with tarfile.open(pack) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]


KEY = run_key(CONFIGS[0])

HOSTILE = {
    "above": plain("../escaped", b"x"),
    "absolute": plain(f"{os.sep}tmp/escaped", b"x"),
    "above a run": plain(f"{KEY}/../../escaped", b"x"),
    "link": special(f"{KEY}/config.json", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": special(f"{KEY}/config.json", tarfile.LNKTYPE, "/etc/passwd"),
    "link for a run": special(KEY, tarfile.SYMTYPE, "/tmp"),
    "pipe": special(f"{KEY}/cout.txt", tarfile.FIFOTYPE),
    "device": special(f"{KEY}/cout.txt", tarfile.CHRTYPE),
    "folder": special(f"{KEY}/cout.txt", tarfile.DIRTYPE),
    "holes": with_holes(f"{KEY}/cout.txt"),
    "another run": plain(f"{'0' * 16}/config.json", b"{}"),
    "another file": plain(f"{KEY}/config.py", b"import os"),
    "upper case": plain(f"{KEY.upper()}/config.json", b"{}"),
    "line end": plain(f"{KEY}/config.json\n", b"{}"),
    "another content": plain(f"{KEY}/config.json", b"{}"),
    "endless": plain(f"{KEY}/cout.txt", bytes(2**25)),
    "long name": plain("x" * 10_000),
}


@pytest.mark.parametrize("last", [True, False], ids=["at the end", "after the list"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_pack_with_anything_but_runs_is_refused(what, last, pack, runs_root, tmp_path):
    known = members(pack)
    evil = [*known, HOSTILE[what]] if last else [known[0], HOSTILE[what], *known[1:]]
    if what == "another content" and not last:
        evil = [member for member in evil if member[0] is not known[1][0]]
    refused(written(pack, evil), runs_root)
    assert not list(tmp_path.parent.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()


def test_a_pack_without_its_list_or_with_an_empty_one_is_refused(pack, runs_root):
    first, *others = members(pack)
    for several in (
        [],
        others,
        [*others, first],
        [plain(NAME), *others],
        [special(NAME, tarfile.SYMTYPE, "/etc/passwd")],
    ):
        assert NAME in refused(written(pack, several), runs_root)


def test_a_pack_in_which_a_run_has_the_name_of_another_is_refused(made, own_packs, runs_root, tmp_path):
    """Its checksums fit."""
    shutil.copytree(made[0], tmp_path / KEY[::-1])
    run_packs.write(run_packs.path_of("small", "a"), [tmp_path / KEY[::-1]])
    assert "another key" in refused(run_packs.path_of("small", "a"), runs_root)
    for config in ("[]", "{", "null"):
        (tmp_path / KEY[::-1] / "config.json").write_text(config)
        seal(tmp_path / KEY[::-1])
        run_packs.write(run_packs.path_of("small", config), [tmp_path / KEY[::-1]])
        refused(run_packs.path_of("small", config), runs_root)


@pytest.mark.parametrize("fraction", [0.1, 1.0])
def test_what_is_missing_from_a_pack_is_named(fraction, pack, runs_root):
    known = members(pack)
    assert "run " in refused(written(pack, known[: max(2, int(fraction * len(known)) - 1)]), runs_root)


def test_a_decoder_that_wants_much_memory_is_refused(pack, runs_root):
    big = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**28}]
    pack.write_bytes(lzma.compress(lzma.decompress(pack.read_bytes()), filters=big))
    refused(pack, runs_root)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_pack_it_is_refused_or_its_runs_are_whole(
    pack, made, monkeypatch, tmp_path_factory, data
):
    """The tar inside is changed, and packed again."""
    root = tmp_path_factory.mktemp("fuzzed")
    monkeypatch.setenv("PAL_RUNS", str(root))
    inside = bytearray(lzma.decompress(pack.read_bytes()))
    headers = [place for place in range(0, len(inside), 512) if inside[place + 257 : place + 262] == b"ustar"]
    place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, 511))
    change = data.draw(st.binary(min_size=1, max_size=20))
    inside[place : place + len(change)] = change
    block = inside[place // 512 * 512 :][:512]
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if data.draw(st.booleans()):  # a checksum that fits, so that the change counts
        inside[place // 512 * 512 + 148 : place // 512 * 512 + 156] = f"{total:06o}\0 ".encode()
    fuzzed = tmp_path_factory.mktemp("packs") / "fuzzed.tar.xz"
    fuzzed.write_bytes(lzma.compress(bytes(inside), preset=0))
    with suppress(UserError):
        run_packs.unpack(fuzzed)
    assert contents(root) in ({}, contents(made[0].parent))


def test_runs_that_are_there_stay_as_they_are(pack, runs_root):
    """Newer ones, damaged ones, and whatever else has their names."""
    run_packs.unpack(pack)
    first, second, third = run_folders(runs_root)
    (first / "cout.txt").write_text("newer")
    seal(first)
    (second / "trace.npz").write_bytes(b"damaged")
    shutil.rmtree(third)
    third.write_text("no run")
    before = contents(runs_root)
    assert run_packs.unpack(pack) == 0
    assert contents(runs_root) == before
    assert third.read_text() == "no run"


def test_a_run_that_is_being_executed_is_left_to_whoever_does(pack, runs_root):
    with run_directory._lock(KEY) as partial:
        assert run_packs.unpack(pack) == 2
        assert partial.exists()
    assert not (runs_root / KEY).exists()
    run_directory.execute(CONFIGS[0], quick)
    assert len(find_finished(CONFIGS)) == 3


def test_an_unfinished_run_that_nobody_executes_is_finished_by_the_pack(pack, runs_root):
    (runs_root / ".partial" / KEY / "record").mkdir(parents=True)
    (runs_root / ".partial" / KEY / "checkpoint.pt").write_bytes(b"half")
    (runs_root / ".failed" / KEY).mkdir(parents=True)
    assert run_packs.unpack(pack) == 3
    assert not list((runs_root / ".partial").iterdir())
    assert not list((runs_root / ".failed").iterdir())


class Counted:
    """Calls of a function, at one of which something happens instead."""

    def __init__(self, function, at, error):
        self.function, self.at, self.error, self.calls = function, at, error, itertools.count()

    def __call__(self, *words, **named):
        if next(self.calls) == self.at:
            raise self.error
        return self.function(*words, **named)


PLACES = [
    *((Path, "write_bytes", at) for at in (0, 7, 20)),
    *((run_directory, "adopt", at) for at in range(3)),
    (os, "sync", 0),
]
"""Functions through which unpacking goes, and at which of their calls it ends."""


@pytest.mark.parametrize(("owner", "name", "at"), PLACES, ids=lambda one: getattr(one, "__name__", str(one)))
@pytest.mark.parametrize("how", ["killed", "full"])
def test_whenever_unpacking_ends_no_run_is_half_there_and_the_next_call_completes(
    how, owner, name, at, pack, made, runs_root, monkeypatch
):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if how == "full" else Interrupted()
    counted = Counted(getattr(owner, name), at, error)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *words, **named: counted(*words, **named))
        if how == "killed":  # nobody tidies up
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises((UserError, Interrupted)) as ended:
            run_packs.unpack(pack)
    if how == "full":
        assert f"cannot be unpacked into {runs_root}: No space left" in str(ended.value)
        assert not list(runs_root.glob(".unpacked/runs"))
    assert all(damage(run) is None for run in run_folders(runs_root))
    run_packs.unpack(pack)
    assert contents(runs_root) == contents(made[0].parent)


def test_several_unpack_at_once_and_each_run_is_brought_in_by_one(pack, made, runs_root):
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(run_packs.unpack, [pack] * 4))
    assert sum(counts) == 3
    assert contents(runs_root) == contents(made[0].parent)


def test_a_folder_that_takes_nothing_and_a_pack_that_cannot_be_read_are_one_sentence(
    pack, monkeypatch, tmp_path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(UserError, match="cannot be unpacked into .*: Not a directory"):
        run_packs.unpack(pack)
    pack.unlink()
    pack.mkdir()
    with pytest.raises(UserError, match="benchmark.tar.xz cannot be read: Is a directory"):
        run_packs.unpack(pack)


def test_what_is_left_out_of_a_pack_does_not_come_back(pack, runs_root):
    run_packs.unpack(pack)
    run_packs.leave_out(pack, {KEY})
    assert KEY not in run_packs.read_sums(pack)
    shutil.rmtree(runs_root)
    assert run_packs.unpack(pack) == 2
    run_packs.leave_out(pack, {run_key(config) for config in CONFIGS})
    assert not pack.exists()
    assert run_packs.packs_of("small") == []


def test_every_file_of_a_run_is_in_its_pack(pack):
    names = [member.name for member, _ in members(pack)]
    assert sorted(name for name in names if not name.endswith(CHANGES)) == sorted(
        [NAME, *(f"{run_key(config)}/{name}" for config in CONFIGS for name in (*FILES, NAME))]
    )
