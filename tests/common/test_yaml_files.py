"""Texts that are no settings are refused in one sentence, whatever they hold."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.common.errors import UserError
from experiments.common.yaml_files import parse, read_fields

NAMES = "abcdefghijklmnopqrst"
BOMB = "a: &a [1, 1]\n" + "".join(f"{new}: &{new} [*{old}, *{old}]\n" for old, new in pairwise(NAMES))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 5000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        ("9" * 5000, "number or date"),
        ("[a, 0x" + "f" * 5000 + "]", "thousands of digits"),
        ("a: \0", "not valid YAML.*special characters"),
        ("2020-13-45", "number or date"),
        ("&a [*a]", "itself"),
        (BOMB, "more than 100,000 values"),
        ("a: [", "not valid YAML in line"),
        ("!!python/object/apply:os.getpid []", "not valid YAML"),
    ],
)
def test_what_is_no_value_is_one_sentence(text, sentence):
    with pytest.raises(UserError, match=f"^it .*{sentence}") as refused:
        parse(text, "it")
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: \xe9", "not UTF-8"),
        ("a: b".encode("utf-16"), "not UTF-8"),
        (b"[1]", "must consist of lines NAME: VALUE"),
        (b"", "must consist of lines NAME: VALUE"),
        (Path.mkdir, "cannot be read"),
        (os.mkfifo, "cannot be read"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read"),
    ],
)
def test_a_file_that_holds_no_fields_is_named(tmp_path, content, sentence):
    path = tmp_path / "file"
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"mine .*{sentence}"):
        read_fields(path, "mine")
