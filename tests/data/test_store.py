"""Decoded data are there whole and checked, or not at all; what was good stays."""

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.data import store as store_module
from experiments.data.integrity import file_sha256
from experiments.data.sources import File, Source
from experiments.data.store import Store

CONTENT = bytes(range(256)) * 20


def decode(paths):
    return {"values": np.frombuffer(paths[0].read_bytes(), dtype=np.uint8)}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    data, mirror = tmp_path / "data", tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("PAL_DATA", str(data))
    monkeypatch.setenv("PAL_DATA_MIRROR", str(mirror))
    return data, mirror


@pytest.fixture
def pack(folders):
    path = folders[1] / "toy.bin"
    path.write_bytes(CONTENT)
    return path


def toy(pack, decode=decode):
    file = File("toy.bin", len(CONTENT), file_sha256(pack))
    return Store("toy", "Toy data", [Source("toy pack", (file,), decode)])


def flip_a_byte(path, place=1000):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def left_over(data):
    return sorted(path.name for path in data.iterdir() if not path.name.startswith(".lock"))


def test_decoded_once_then_read_without_the_source(folders, pack):
    store = toy(pack)
    assert not store.is_here()
    assert store.next_source() == "in the mirror: toy pack"
    np.testing.assert_array_equal(store.arrays()["values"], np.frombuffer(CONTENT, np.uint8))
    pack.unlink()
    np.testing.assert_array_equal(store.arrays()["values"], np.frombuffer(CONTENT, np.uint8))
    assert store.source() == "toy pack"
    assert left_over(folders[0]) == ["toy"]


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_byte, "damaged: its SHA-256 is .* instead of"),
        (shorten, "5,119 bytes instead of 5,120: truncated"),
    ],
)
def test_a_damaged_pack_is_not_decoded(folders, pack, damage, words):
    store = toy(pack)
    damage(pack)
    with pytest.raises(UserError, match=rf"toy\.bin .*{words}"):
        store.arrays()
    assert left_over(folders[0]) == []


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_byte, empty, Path.unlink])
def test_damaged_array_names_the_file_and_the_way_out(folders, pack, damage):
    store = toy(pack)
    store.arrays()
    damage(folders[0] / "toy" / "values.npy")
    with pytest.raises(
        UserError, match=r"values\.npy .*; remove the folder .* to have Toy data decoded again"
    ):
        store.arrays()
    shutil.rmtree(store.home)
    assert len(store.arrays()["values"]) == len(CONTENT)


def test_damaged_manifest(pack):
    store = toy(pack)
    store.arrays()
    (store.home / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is damaged; remove the folder"):
        store.arrays()


def test_manifest_says_where_the_data_came_from(pack):
    store = toy(pack)
    store.arrays()
    manifest = json.loads((store.home / "manifest.json").read_text())
    assert manifest["source"] == "toy pack"
    assert manifest["arrays"]["values"]["sha256"] == file_sha256(store.home / "values.npy")


def test_pickles_are_refused(folders, pack):
    store = toy(pack, lambda paths: {"values": np.array([{"a": 1}])})
    with pytest.raises(ValueError, match="allow_pickle"):
        store.arrays()
    assert left_over(folders[0]) == []


def test_too_little_disk(folders, pack, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(free=100))
    with pytest.raises(UserError, match=r"Toy data needs 0\.0 MB in .* are free"):
        toy(pack).arrays()
    assert left_over(folders[0]) == []


def test_disk_full_in_the_middle_leaves_the_other_sets_alone(folders, pack, monkeypatch):
    good = toy(pack)
    good.arrays()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.np, "save", full)
    other = Store("other", "Other data", good.sources)
    with pytest.raises(UserError, match=r"Other data cannot be written to .*No space left on device"):
        other.arrays()
    assert left_over(folders[0]) == ["toy"]
    assert len(good.arrays()["values"]) == len(CONTENT)


def test_what_an_interrupted_process_left_is_swept_away(folders, pack):
    (folders[0] / ".making-toy-abc").mkdir(parents=True)
    toy(pack).arrays()
    assert left_over(folders[0]) == ["toy"]


def test_the_first_source_that_is_whole_is_used(folders, pack):
    files = File("toy.bin", len(CONTENT), file_sha256(pack)), File("absent.bin", 1, "0")
    store = Store("toy", "Toy", [Source("both", files, decode), Source("one", files[:1], decode)])
    store.arrays()
    assert store.source() == "one"


def test_missing_data_names_three_ways_and_the_profile_without(folders):
    source = Source("pack", (File("absent.bin", 1, "0", ("http://127.0.0.1:9/absent.bin",)),), decode)
    with pytest.raises(UserError) as error:
        Store("toy", "Toy data", [source]).arrays()
    sentence = str(error.value)
    for part in ("Toy data", "PAL_DATA_MIRROR", "absent.bin", "127.0.0.1:9", "refused", "copy", "quick"):
        assert part in sentence
    assert "\n" not in sentence


def test_mirror_that_is_not_a_folder(pack, monkeypatch):
    store = toy(pack)
    monkeypatch.setenv("PAL_DATA_MIRROR", "/no/such/folder")
    with pytest.raises(UserError, match="PAL_DATA_MIRROR is '/no/such/folder', which is not a folder"):
        store.arrays()
