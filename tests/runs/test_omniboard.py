"""How Omniboard is installed; its programs are replaced by a few words of shell."""

import os

import pytest

from experiments import omniboard


@pytest.fixture(autouse=True)
def at_once(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(omniboard, "FOLDER", tmp_path)


@pytest.fixture
def program(tmp_path):
    """Make a program of a few words of shell, which runs in a folder of the test's own."""

    def make(name, words):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)

    return make


def test_omniboard_is_installed_once_for_each_state_of_its_lock(program, tmp_path):
    program("node", "")
    program("npm", "echo >> installed")
    lock, installed = tmp_path / "package-lock.json", tmp_path / "installed"
    lock.touch()
    os.utime(lock, (1, 1))
    (tmp_path / "node_modules").mkdir()
    for _ in range(2):
        omniboard._install()
    assert len(installed.read_text()) == 1
    os.utime(tmp_path / "node_modules" / ".ready", (2, 2))
    os.utime(lock, (3, 3))
    for _ in range(2):
        omniboard._install()
    assert len(installed.read_text()) == 2
