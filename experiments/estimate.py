"""How long the runs that are left will take: judged by finished ones, else by a few steps of each kind.

Timed are the first steps of the real run, with what its study measures on the way; a study that measures more often at
the beginning is therefore estimated too long.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from rich.table import Table

from experiments import display, launcher, runs, studies
from experiments.config import RunConfig, device_of
from experiments.glimpse import Enough, Glimpse
from experiments.runs import FinishedRun

STEPS = 4
"""Steps that are timed. The first counts as start-up, the last ends with an evaluation."""

Predict = Callable[[RunConfig], float]


def table(configs: Sequence[RunConfig], slots: int) -> Table:
    """Runs, how many are finished, and the time for the others, by study, problem and entry; the last row is all."""
    finished = runs.finished(configs)
    keys = {run.key for run in finished}
    seconds = estimate([config for config in configs if config.key() not in keys], finished)
    shown = Table("study", "problem", "entry", "runs", "finished", "remaining", "estimated time")
    rows: dict[tuple[str, ...], list[RunConfig]] = defaultdict(list)
    for config in configs:
        rows[config.study, config.problem, config.entry].append(config)
    for names, group in rows.items():
        shown.add_row(*names, *_numbers(group, seconds, 1))
    shown.add_section()
    shown.add_row("all", "", f"slots: {slots}", *_numbers(configs, seconds, slots), style="bold")
    return shown


def _numbers(group: Sequence[RunConfig], seconds: dict[str, float], slots: int) -> list[str]:
    left = [seconds[config.key()] for config in group if config.key() in seconds]
    return [str(len(group)), str(len(group) - len(left)), str(len(left)), display.duration(sum(left) / slots)]


def estimate(left: Sequence[RunConfig], finished: Sequence[FinishedRun]) -> dict[str, float]:
    """Seconds of each run that is left, by its key.

    Raises:
        UserError: If data of a run cannot be had.
    """
    paces: dict[Any, list[float]] = defaultdict(list)
    for run in finished:
        paces[_kind(run.config)].append(run.seconds / run.result["steps"])
    launcher.prepare([config for config in left if _kind(config) not in paces])
    timed: dict[Any, Predict] = {}
    for config in left:
        if _kind(config) not in paces and _kind(config) not in timed:
            timed[_kind(config)] = time_steps(config)
    return {
        config.key(): config.steps * float(np.mean(paces[_kind(config)]))
        if _kind(config) in paces
        else timed[_kind(config)](config)
        for config in left
    }


def _kind(config: RunConfig) -> tuple[Any, ...]:
    """What runs of about the same time per step have in common."""
    return config.study, config.problem, config.optimizer, config.batch_size, config.train_size, config.dtype


def time_steps(config: RunConfig) -> Predict:
    """Take the first steps of a run here and now; returns what predicts the seconds of runs of its kind."""
    watch = Stopwatch(device_of(config))
    with suppress(Enough):
        studies.get(config.study).run(config.model_copy(update={"evaluate_every": STEPS}), watch)
    start, *steps = np.diff(watch.moments).tolist()
    step = float(np.mean(steps[:-1])) if len(steps) > 1 else start
    evaluation = max(0.0, steps[-1] - step) if steps else 0.0

    def seconds(run: RunConfig) -> float:
        evaluations = run.steps / run.evaluate_every + 1  # the test score is like one more
        return start + run.steps * step + evaluations * evaluation

    return seconds


class Stopwatch(Glimpse):
    """Notes the moments at which steps ended.

    Args:
        device: Of the run; its queue is emptied before the clock is read.

    Attributes:
        moments: By `time.perf_counter`; the first is that of its making.
    """

    def __init__(self, device: torch.device) -> None:
        self.moments = [time.perf_counter()]
        self._device = device

    @property
    def checkpoint_seconds(self) -> float:
        """Asked for once after each step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.moments.append(time.perf_counter())
        if len(self.moments) > STEPS:
            raise Enough
        return super().checkpoint_seconds
