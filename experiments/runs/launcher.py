"""Many runs in N slots: one persistent worker process per slot, so that torch is imported once, not once per run.

State lives in the run directories. A worker ends when the launcher does (its standard input closes), and whatever
happens, the same call continues where this one stopped.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.common import extensions, torch_compiler
from experiments.common.paths import REPOSITORY
from experiments.optimizers.checks import require_resumable
from experiments.problems.checks import require_trainable
from experiments.runs import run_directory
from experiments.runs.finished import divided
from experiments.runs.key import run_key
from experiments.training.config import RunConfig, device_of

torch_compiler.leave_out()

ATTEMPTS = 2
"""How often a run is started if its worker is killed."""

GRACE = 60.0
"""Seconds that a worker has at the time limit to save a checkpoint: one step and one evaluation."""

TAIL = 4000
"""Characters of a dead worker's last words that are kept."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, why, and where its captured output is."""

    name: str
    reason: str
    log: Path


@dataclass
class Board:
    """What the slots share; taking from and adding to its collections is atomic.

    Attributes:
        total: Number of runs.
        waiting: Runs that no slot has taken.
        finished: Runs that are done, also those that were before.
        failures: Runs that failed.
        under_way: Which part of its run a slot has done, by the slot's number.
        words: What a run under way said last, such as its training loss.
    """

    total: int
    waiting: deque[RunConfig]
    finished: list[RunConfig]
    failures: list[Failure] = field(default_factory=list)
    under_way: dict[int, float] = field(default_factory=dict)
    words: str = ""

    @property
    def done(self) -> float:
        """Number of runs that have ended, and the parts of the others."""
        return len(self.finished) + len(self.failures) + sum(list(self.under_way.values()))


def prepare(configs: Sequence[RunConfig]) -> None:
    """Look for the devices and a place for the runs, and load their data once, fetching what is missing.

    Raises:
        UserError: For what cannot be had, before anything has started.
    """
    for config in configs:
        device_of(config)
    load_data(configs)
    run_directory.require_root()


def load_data(configs: Sequence[RunConfig]) -> None:
    """The data alone, for runs that another machine will execute; raises UserError for what cannot be had."""
    tasks = {
        (config.problem, config.train_size, config.batch_size): config.resolved_problem for config in configs
    }
    for task in tasks.values():
        task.loader(task.load().train, 0, 0)
    _check_own_things(configs)


def _check_own_things(configs: Sequence[RunConfig]) -> None:
    """The checks that take no time, of whatever comes from an extension; raises UserError for what does not pass."""
    parts = ("DATASETS", "NETWORKS", "OBJECTIVES")
    problems = {
        config.problem: config.resolved_problem
        for config in configs
        if extensions.of({part: config.things[part] for part in parts})
    }
    own = {
        (config.optimizer, repr(config.settings)): config
        for config in configs
        if extensions.of({"OPTIMIZERS": config.optimizer})
    }
    for problem in problems.values():
        require_trainable(problem)
    for config in own.values():
        require_resumable(config.optimizer, config.settings, partial(config.resolved_problem.build, 0))


def launch(
    configs: Sequence[RunConfig],
    slots: "Slots | int",
    show: Callable[[Board], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Failure]:
    """Execute all runs that are not finished yet, one per slot at a time; failures stop nothing else.

    Args:
        configs: The runs, in the order in which they start.
        slots: Whose workers execute them; or how many, for workers that end with this launch.
        show: Called about five times a second with what is done and what is not.
        stop: Asked as often; when true, the runs save a checkpoint and end, and no others are started.

    Raises:
        UserError: If data of a run that is not finished cannot be had.
    """
    if isinstance(slots, int):
        with Slots(slots) as own:
            return launch(configs, own, show, stop)
    keys = [run_key(config) for config in configs]
    board = Board(len(configs), *_waiting_and_finished(configs))
    needed = slots.get_ready(board)
    prepare(list(board.waiting))  # while the workers import torch
    if keys != [run_key(config) for config in configs]:  # by data that were fetched now
        board.waiting, board.finished = _waiting_and_finished(configs)
    for slot in needed:
        slot.thread.start()
    while any(slot.thread.is_alive() for slot in needed):
        show(board)
        time.sleep(0.2)
        if stop():
            halt(needed)
            break
    show(board)
    return board.failures


def _waiting_and_finished(configs: Sequence[RunConfig]) -> tuple[deque[RunConfig], list[RunConfig]]:
    finished, left = divided(configs)
    return deque(left.values()), [run.config for run in finished]


def halt(slots: Sequence["Slot"]) -> None:
    """Have all runs under way end at a checkpoint, and with them the workers; GRACE seconds later they are killed."""
    end = time.monotonic() + GRACE
    while any(slot.thread.is_alive() for slot in slots) and time.monotonic() < end:
        for slot in slots:
            slot.ask_to_end()  # again and again: it may have been about to start a worker
        time.sleep(0.1)
    for slot in slots:
        slot.stop()


class Slots:
    """Several slots for one launch after the other; leaving the context ends their workers.

    Args:
        number: Of the slots.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._slots: list[Slot] = []

    def __enter__(self) -> "Slots":
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self._slots:
            slot.close()

    def get_ready(self, board: Board) -> Sequence["Slot"]:
        """Start the workers that the waiting runs need; returns their slots."""
        count = min(self._number, len(board.waiting))
        self._slots += [Slot(index) for index in range(len(self._slots), count)]
        needed = self._slots[:count]
        for slot in needed:
            slot.get_ready(board)
        return needed


class Slot:
    """One worker process, and the thread that feeds it during a launch.

    Args:
        number: Of the slot; decides its GPU.
    """

    _board: Board

    def __init__(self, number: int) -> None:
        self._number = number
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (closed by close)
        self._stopping = False
        self.thread = threading.Thread()
        self._made_for: tuple[int, str] | None = None
        self._process: subprocess.Popen[str] | None = None

    def get_ready(self, board: Board) -> None:
        """Start a worker if there is none; the thread that will feed it from the board is the caller's to start."""
        self._board, self._stopping = board, False
        self.thread = threading.Thread(target=self._feed, daemon=True)
        if self._process is None:
            self._start(board.waiting[0])

    def ask_to_end(self) -> None:
        """Have the worker save a checkpoint of its run and end; the slot takes no further run."""
        self._stopping = True
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End the worker, also in the middle of a run."""
        self._stopping = True
        while self.thread.is_alive():  # it may have been about to start a worker
            self._end()
            self.thread.join(0.1)
        self._end()

    def close(self) -> None:
        """End the worker for good."""
        self.stop()
        self._errors.close()

    def _feed(self) -> None:
        while not self._stopping:
            try:
                config = self._board.waiting.popleft()
            except IndexError:
                return
            failure = self._run(config)
            self._board.under_way.pop(self._number, None)
            if self._stopping:
                return
            if failure is None:
                self._board.finished.append(config)
            else:
                self._board.failures.append(failure)

    def _run(self, config: RunConfig) -> Failure | None:
        """What became of a run; an error of the slot, such as no memory for a worker, is this run's failure alone."""
        try:
            return self._attempts(config)
        except Exception as error:
            self._end()
            if not self._stopping:
                with suppress(OSError):  # it may be what went wrong: a full disk holds no log
                    run_directory.failed(config, traceback.format_exc())
            return Failure(config.name, f"{type(error).__name__}: {error}", run_directory.log(config))

    def _attempts(self, config: RunConfig) -> Failure | None:
        """Have the worker execute one run, and once more if the worker dies."""
        for _ in range(ATTEMPTS):
            answer = self._ask(config)
            if self._stopping:
                return None
            if answer is not None:
                return self._judge(config, answer["failure"])
        reason = f"its worker ended {ATTEMPTS} times without an answer (killed, or out of memory)"
        return Failure(config.name, reason, run_directory.failed(config, f"{reason}\n{self._last_words()}"))

    def _judge(self, config: RunConfig, reason: str | None) -> Failure | None:
        if reason is None:
            return None
        self._end()  # what broke this run, such as a lost GPU context, must not break the next
        return Failure(config.name, reason, run_directory.log(config))

    def _ask(self, config: RunConfig) -> dict[str, Any] | None:
        """The worker's answer; None if it died. What it says before is how far the run is."""
        if self._made_for != _kind(config):
            self._end()
        process = self._process or self._start(config)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(config.model_dump_json() + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if not line.endswith("\n"):
                    break
                answer = json.loads(line)
                if "failure" in answer:
                    return answer
                self._board.under_way[self._number] = answer["part"]
                self._board.words = answer["words"]
        except (BrokenPipeError, ValueError):
            pass
        self._end()
        return None

    def _start(self, config: RunConfig) -> subprocess.Popen[str]:
        """A worker for runs with the threads and the instruction set of this one."""
        self._made_for = _kind(config)
        native = ["--native"] if config.instruction_set == "native" else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments", "worker", *native],
            cwd=REPOSITORY,
            env=_environment(self._number, config.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C is the launcher's to handle
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Leaving waits, and closes the pipes; nobody reads any more what one may still hold.
            with suppress(OSError), process:
                pass

    def _last_words(self) -> str:
        """The end of what the worker wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read()[-TAIL:]


def _kind(config: RunConfig) -> tuple[int, str]:
    """What must be the same for runs in one process."""
    return config.threads, config.instruction_set


def _environment(slot: int, threads: int) -> dict[str, str]:
    """Variables that must be there before the worker starts."""
    variables = dict(os.environ, OMP_NUM_THREADS=str(threads))
    variables["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic matrix products
    # Activations are freed and asked for again in every step: glibc would give their pages back each time.
    variables |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        every = [str(index) for index in range(torch.cuda.device_count())]
        devices = visible.split(",") if visible else every
        variables["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return variables
