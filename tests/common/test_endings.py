"""A command ends with what it has started and with what has started it, and goes on without its terminal."""

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from small_runs import alive, children, until

from experiments.common.paths import REPOSITORY

COMMAND = """
import subprocess, sys, time
from experiments.common import endings
endings.arrange()
subprocess.Popen(["sh", "-c", "trap '' TERM HUP; sleep 100 & wait"])
print("ready", flush=True)
try:
    time.sleep(100)
except KeyboardInterrupt:
    time.sleep({tidying})
    sys.exit(1)
"""


@contextmanager
def started(command, count, **variables):
    """A program that has said that it is ready, and all processes from it on downwards, `count` of them."""
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY)) | variables
    for name in {"MAKELEVEL", "DVC_STAGE"} - set(variables):
        environment.pop(name, None)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        until(lambda: len(family(process.pid)) == count)
        assert process.stdout.readline() == "ready\n"
        everything = family(process.pid)
        yield process
        until(lambda: not any(map(alive, everything)), seconds=5)


def family(pid):
    """A process and all below it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("tidying", [0, 60])
def test_a_signal_ends_everything_below_even_what_does_not_listen(number, tidying):
    with started([sys.executable, "-c", COMMAND.format(tidying=tidying)], 3) as process:
        process.send_signal(number)
        assert process.wait(timeout=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_make_ends_everything_below(number, tmp_path):
    (tmp_path / "command.py").write_text(COMMAND.format(tidying=0))
    (tmp_path / "Makefile").write_text(f"SHELL := bash\nall:\n\t@{sys.executable} command.py\n")
    with started(["make", "--no-print-directory", "-C", str(tmp_path)], 4) as process:
        process.send_signal(number)


def test_a_hangup_that_is_ignored_ends_nothing():
    with started(["nohup", sys.executable, "-c", COMMAND.format(tidying=0)], 3) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=5)


TALK = """
import sys
from pathlib import Path
from rich.console import Console
from experiments.common import endings
endings.arrange()
print("ready")
sys.stdin.read()
for console in (Console(), Console(stderr=True)):
    console.print("words " * 1000)
print("words", flush=True)
Path(sys.argv[1]).touch()
"""


def test_a_terminal_that_is_gone_takes_nothing_along(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", TALK, str(tmp_path / "done")]
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    streams = {"stdin": subprocess.PIPE, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, **streams, env=environment, start_new_session=True) as process:
        os.close(theirs)
        assert b"ready" in os.read(ours, 1000)
        os.close(ours)
        process.stdin.close()
        assert process.wait(timeout=20) == 0
    assert (tmp_path / "done").exists()
