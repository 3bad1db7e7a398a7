"""Many runs in N slots: one persistent worker process per slot, so that torch is imported once, not once per run.

State lives in the run directories. A worker ends when the launcher does (its standard input closes), and whatever
happens, the same call continues where this one stopped.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from experiments import runs, tracking
from experiments.config import RunConfig
from experiments.source import REPOSITORY

ATTEMPTS = 2
"""How often a run is started if its worker is killed."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, why, and where its captured output is."""

    name: str
    reason: str
    log: Path


@dataclass
class Progress:
    """How far a list of runs is; read by whoever shows it."""

    total: int
    done: int
    started: float = field(default_factory=time.monotonic)
    finished_now: int = 0
    failed: int = 0
    running: dict[int, str] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the runs finished by this call; None before the first."""
        if not self.finished_now:
            return None
        each = (time.monotonic() - self.started) / self.finished_now
        return each * (self.total - self.done - self.failed)


def default_slots() -> int:
    """One run per GPU, else one per CPU core that this process may use."""
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def launch(
    configs: Sequence[RunConfig],
    slots: int,
    threads: int = 1,
    show: Callable[[Progress], None] = lambda _: None,
) -> list[Failure]:
    """Execute all runs that are not finished yet, `slots` at a time; failures stop nothing else.

    Args:
        configs: The runs, in the order in which they start.
        slots: Worker processes.
        threads: CPU threads of each.
        show: Called about five times a second with the progress.
    """
    there = {run.key for run in runs.finished(configs)}
    waiting = deque(config for config in configs if config.key() not in there)
    progress = Progress(len(configs), len(configs) - len(waiting))
    failures: list[Failure] = []
    workers = [
        Slot(number, threads, waiting, progress, failures) for number in range(min(slots, len(waiting)))
    ]
    try:
        while any(worker.thread.is_alive() for worker in workers):
            show(progress)
            time.sleep(0.2)
    finally:
        for worker in workers:
            worker.stop()
    show(progress)
    return failures


class Slot:
    """One worker process and the thread that feeds it.

    Args:
        number: Of the slot; decides its GPU.
        threads: CPU threads of the worker.
        waiting: Runs still to start, shared by all slots.
        progress: Shared by all slots.
        failures: Shared by all slots.
    """

    def __init__(
        self,
        number: int,
        threads: int,
        waiting: deque[RunConfig],
        progress: Progress,
        failures: list[Failure],
    ) -> None:
        self.number = number
        self._environment = _environment(number, threads)
        self._waiting, self._progress, self._failures = waiting, progress, failures
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False
        self.thread = threading.Thread(target=self._feed, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the worker, also in the middle of a run."""
        self._stopping = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _feed(self) -> None:
        while not self._stopping:
            try:
                config = self._waiting.popleft()
            except IndexError:
                return
            self._progress.running[self.number] = config.name
            reason = self._run(config)
            self._progress.running.pop(self.number)
            if self._stopping:
                return
            if reason is None:
                self._progress.done += 1
                self._progress.finished_now += 1
            else:
                self._progress.failed += 1
                log = tracking.root() / ".failed" / config.key() / "cout.txt"
                self._failures.append(Failure(config.name, reason, log))

    def _run(self, config: RunConfig) -> str | None:
        """Have the worker execute one run; the reason if it failed."""
        for _ in range(ATTEMPTS):
            answer = self._ask(config)
            if answer is not None:
                return answer["failure"]
            if self._stopping:
                break
        return f"its worker ended {ATTEMPTS} times without an answer (killed, or out of memory)"

    def _ask(self, config: RunConfig) -> dict[str, Any] | None:
        """The worker's answer; None if it died."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "experiments", "worker"],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is the launcher's to handle
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(config.model_dump_json() + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            self._process.wait()
            return None
        return json.loads(line)


def _environment(slot: int, threads: int) -> dict[str, str]:
    """Variables that must be there before the worker starts."""
    variables = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    variables["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic matrix products
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = (
            visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
        )
        variables["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return variables
