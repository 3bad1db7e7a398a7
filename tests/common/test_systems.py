"""What other systems lack is not needed: here, the files of Linux in /proc."""

import platform
from pathlib import Path

import pytest

from experiments.common import endings, instruction_set
from experiments.runs import provenance


@pytest.fixture
def without_proc(monkeypatch):
    """A system without /proc, such as macOS."""
    read = Path.read_text

    def refuse(path, *arguments, **named):
        if str(path).startswith("/proc/"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    instruction_set.portable.cache_clear()
    yield
    instruction_set.portable.cache_clear()


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("arm64", "arm64"), ("x86_64", "avx2"), ("AMD64", "avx2"), ("aarch64", "aarch64")],
)
def test_the_instruction_set_needs_no_proc(without_proc, monkeypatch, machine, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert instruction_set.portable() == expected


def test_processor_and_make_are_found_without_proc(without_proc):
    assert provenance.processor() in (platform.processor(), platform.machine())
    assert not endings._is_hung_up(1)
