"""The parts: commands with a time limit each, so that none of them takes the time, or the process, of another."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

GRACE = 10.0
"""Seconds in which a part that is interrupted says what it has found."""

PACKING = 60.0
"""Seconds for what follows the last part: its checkpoints, tables and archive."""

PYTHON = (sys.executable, "-m")


@dataclass(frozen=True)
class Part:
    """A command that writes its results as it makes them.

    Attributes:
        name: For people.
        command: Its words; "{seconds}" stands for the time that it has.
        seconds: How long it may take; by default all the time that is left.
        beyond: Seconds that it may take after that, since it ends by itself.
    """

    name: str
    command: Sequence[str]
    seconds: float = math.inf
    beyond: float = 0.0

    def limit(self, left: float) -> float:
        """The time that it has if so much is left for all."""
        return max(0.0, min(self.seconds, left))


def execute(part: Part, left: float) -> str:
    """Execute a part; interrupt it at its time limit, and kill it if that does not help. Returns how it ended."""
    seconds = part.limit(left)
    if seconds == 0:
        return "left out: no time"
    command = [word.replace("{seconds}", f"{seconds:.0f}") for word in part.command]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, process_group=0)
    try:
        return f"exit {process.wait(seconds + part.beyond)}"
    except subprocess.TimeoutExpired:
        return f"stopped at its limit, exit {interrupt(process)}"
    finally:
        with suppress(ProcessLookupError):  # also what it has started and left behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def interrupt(process: subprocess.Popen[bytes]) -> str:
    """Interrupt a process and all that it has started; returns its exit code."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return str(process.wait(GRACE))
    except subprocess.TimeoutExpired:
        return "none: killed"


INVENTORY = Part("inventory", [*PYTHON, "tools.gpu_quarter.inventory"], 60.0)


def marked() -> list[str]:
    """The files with tests marked `gpu`: collecting all others would take most of the time."""
    files = sorted((REPOSITORY / "tests").rglob("test_*.py"))
    return [str(path.relative_to(REPOSITORY)) for path in files if "pytest.mark.gpu" in path.read_text()]


def tests(out: Path, *words: str) -> Part:
    """The tests marked `gpu`."""
    command = [*PYTHON, "pytest", *marked(), "-m", "gpu and not large", "-v", f"--junitxml={out}/tests.xml"]
    # Warnings of other versions than the locked ones are shown, not taken for failures.
    return Part("tests", [*command, "-W", "default", "-p", "no:cacheprovider", *words], 90.0)


def benchmark(out: Path, *words: str) -> Part:
    """benchmarks/gpu.py."""
    rows = f"--rows={out}/benchmark.jsonl"
    return Part("benchmark", [*PYTHON, "tools.gpu_quarter.benchmark", rows, *words], 240.0)


def training(out: Path, *words: str) -> Part:
    """The paper's run, in all the time that is left."""
    command = [*PYTHON, "tools.gpu_quarter.training", "--out", str(out), "--seconds", "{seconds}", *words]
    return Part("training", command, beyond=PACKING)


def full(out: Path) -> list[Part]:
    """The parts on a GPU. The tests have several processes: an error of CUDA spoils all that follows in its own."""
    return [tests(out, "-n", "4"), benchmark(out, "--seconds", "3"), training(out)]


def tiny(out: Path) -> list[Part]:
    """The same on a CPU, in tiny sizes."""
    small = ["--device", "cpu", "--problems", "digits-mlp", "--runs", "1", "2", "--seconds", "0.1"]
    return [tests(out), benchmark(out, *small), training(out, "--tiny")]
