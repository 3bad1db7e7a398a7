"""A launcher's worker: run configs come in on standard input, one JSON line each.

For each, lines go out that say which part of the run is done, and one at last whether it failed, and why. Threads and
instruction set are those of the process.

SIGTERM and SIGUSR2 ask it to end at a checkpoint: the launcher sends the first at its time limit; a SLURM controller
sends both to all processes of a job, before it takes the node away.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from experiments.common.errors import UserError

PART_SECONDS = 1.0
"""Time between two words about how far a run is."""

_asked = threading.Event()
"""Set when the worker is to end at a checkpoint."""


def main() -> None:
    """Execute runs until standard input closes; then end at once, even in the middle of a run."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: _asked.set())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()

    import torch  # with the reader at work, so that the launcher's end is noticed meanwhile

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    while True:
        _answer(answers, _execute(lines.get(), lambda part: _answer(answers, part)))


def _read(lines: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # the launcher is gone: its next call continues the run from its checkpoint


def _execute(line: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from experiments.runs import run_directory
    from experiments.studies.base import get_study
    from experiments.training.config import RunConfig

    config = RunConfig.model_validate_json(line)
    try:
        body = get_study(config.study).run
        run_directory.execute(config, body, on_progress=_now_and_then(config.steps, tell), stop=_asked.is_set)
    except run_directory.Stopped:
        os._exit(0)  # without an answer: the run is neither finished nor failed
    except UserError as error:
        return {"failure": str(error)}
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
    return {"failure": None}


def _now_and_then(steps: int, tell: Callable[[dict[str, Any]], None]) -> Callable[[int, str], None]:
    told_at = time.monotonic()

    def show(step: int, words: str) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > PART_SECONDS or step == steps:
            told_at = time.monotonic()
            tell({"part": step / steps, "words": words})

    return show


def _answer(stream: IO[str], answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()
