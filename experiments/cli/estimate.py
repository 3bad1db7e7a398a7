"""How long the runs that are left will take: judged by finished ones of their kind, else by a few steps taken here.

A run is its start, its steps, what its study measures on the way, and its evaluations. Each of these is timed once for
all runs that have it in common. A study whose measurements may take minutes gives their cost in forward passes.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.table import Table

from experiments.common.progress import duration, progress_bar
from experiments.runs import launcher
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.key import run_key
from experiments.runs.reasons import reasons
from experiments.studies.base import get_study
from experiments.training.config import RunConfig, device_of
from experiments.training.cuda_graphs import WARM_UP
from experiments.training.loop import train
from experiments.training.record import Enough, Record, State
from experiments.training.trainer import Trainer

STEPS, SECONDS, PATIENCE = 8, 0.5, 10.0
"""After a first step, which counts as start-up, steps are timed until there are so many or they took so long; none if
the first took longer than one has patience. On a GPU the start ends with the first replayed step."""

EXAMPLES = 256
"""Of the validation data, on which evaluations are timed."""

PASSES_PER_STEP = 3
"""Forward passes that take as long as a step of SGD."""

ENDLESS = 1000
"""Length of a timed training, which never gets there."""

COLUMNS = (
    "study",
    "problem",
    "method",
    "runs",
    "finished",
    "remaining",
    "each",
    "estimated time",
    "because of",
)
"""The last: what tells the runs that are left from finished ones."""


def table(configs: Sequence[RunConfig], slots: int) -> Table:
    """Runs, how many are finished, and the time for the others, by study, problem and method; the last row is all."""
    finished = find_finished(configs)
    keys = {run.key for run in finished}
    left = [config for config in configs if run_key(config) not in keys]
    seconds = estimate(left, finished)
    why = {run_key(config): reason for config, reason in zip(left, reasons(left), strict=True)}
    rows: dict[tuple[str, ...], list[RunConfig]] = defaultdict(list)
    for config in configs:
        rows[config.study, config.problem, config.method].append(config)
    shown = Table(*COLUMNS)
    for names, group in rows.items():
        shown.add_row(*names, *_numbers(group, seconds, 1), _because(group, why))
    shown.add_section()
    shown.add_row("all", "", f"slots: {slots}", *_numbers(configs, seconds, slots), style="bold")
    return shown


def _numbers(group: Sequence[RunConfig], seconds: dict[str, float], slots: int) -> list[str]:
    left = [seconds[run_key(config)] for config in group if run_key(config) in seconds]
    each = duration(sum(left) / len(left)) if left else ""
    whole = max(sum(left) / slots, max(left, default=0.0))
    return [*map(str, (len(group), len(group) - len(left), len(left))), each, duration(whole)]


def _because(group: Sequence[RunConfig], why: dict[str, str]) -> str:
    """The reasons of a group of runs, the most frequent first."""
    counts = Counter(why[run_key(config)] for config in group if run_key(config) in why)
    return "; ".join(f"{reason} ({count})" for reason, count in counts.most_common())


def estimate(left: Sequence[RunConfig], finished: Sequence[FinishedRun]) -> dict[str, float]:
    """Seconds of each run that is left, by its key; raises UserError if data of a run cannot be had."""
    paces: dict[Any, list[float]] = defaultdict(list)
    for run in finished:
        paces[_kind(run.config)].append(run.seconds / run.result["steps"])
    unknown = [config for config in left if _kind(config) not in paces]
    launcher.prepare(unknown)
    clock = Clock()
    seconds = {
        run_key(config): config.steps * float(np.mean(paces[_kind(config)]))
        for config in left
        if _kind(config) in paces
    }
    with progress_bar("timing the first steps") as show:
        for place, config in enumerate(unknown):
            show(place, len(unknown), f"{config.problem} {config.optimizer}")
            seconds[run_key(config)] = clock.seconds(config)
    return seconds


def _kind(config: RunConfig) -> tuple[Any, ...]:
    """What runs of about the same time per step have in common."""
    return config.study, config.problem, config.optimizer, config.batch_size, config.train_size, config.dtype


def measurements(config: RunConfig) -> int:
    """At how many steps the study measures, as its `measure` says: the first `first` and every `every`, or every
    `every` of the `last` so many; each step if it names no `every`.
    """
    if config.measure is None:
        return 0
    first = min(config.measure.get("first", 0), config.steps)
    every, last = config.measure.get("every", 1), config.measure.get("last", config.steps)
    before = max(first, last - config.steps)  # of a span longer than the run, only its end is trained
    return first + math.ceil(last / every) - math.ceil(before / every)


class Clock:
    """Times the parts of runs here and now, each kind of part once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def seconds(self, config: RunConfig) -> float:
        """The whole of a run: start, steps, measurements, evaluations and the test score."""
        problem, study = config.resolved_problem, config.study
        model = (problem.network, problem.dataset, problem.augment, config.l2 > 0, config.batch_size)
        model += (config.dtype, config.device, config.deterministic)
        start, step = self._once((model, config.optimizer), lambda: _pace(config, train))
        example = self._once(model, lambda: _evaluation(config))
        seconds = start + config.steps * step
        if config.measure is not None:
            look = (model, study, config.train_size, str(config.measure))
            seconds += measurements(config) * self._once(look, lambda: _measurement(config, step))
        _, validation, test = problem.examples
        return seconds + example * (math.ceil(config.steps / config.evaluate_every) * validation + test)

    def _once(self, part: Any, measure: Callable[[], Any]) -> Any:
        if part not in self._known:
            self._known[part] = measure()
        return self._known[part]


def _measurement(config: RunConfig, step: float) -> float:
    """Seconds of a measurement: those of a step with one, less those of a step."""
    study = get_study(config.study)
    if study.cost is not None:
        return study.cost(config) * step / PASSES_PER_STEP
    always = {"every": 1} | ({"last": ENDLESS} if "last" in (config.measure or {}) else {})
    measured = config.model_copy(update={"measure": (config.measure or {}) | always})
    return max(0.0, _pace(measured, study.run)[1] - step)


def _pace(config: RunConfig, run: Callable[[RunConfig, Record], Any]) -> tuple[float, float]:
    """Seconds of a run up to its first step, and of each further one; there are no evaluations among them."""
    watch = Stopwatch(device_of(config))
    with suppress(Enough):
        run(config.model_copy(update={"steps": ENDLESS, "evaluate_every": ENDLESS}), watch)
    start, *steps = np.diff(watch.moments).tolist()
    return start, float(np.mean(steps or start))


def _evaluation(config: RunConfig) -> float:
    """Seconds for each example."""
    trainer = Trainer(config)
    some = trainer.splits.validation.part(slice(EXAMPLES))
    trainer.splits = replace(trainer.splits, validation=some)
    trainer.evaluate()  # counts as start-up
    started = time.perf_counter()
    trainer.evaluate()
    return (time.perf_counter() - started) / len(some)


class Stopwatch(Record):
    """Notes the moments at which steps ended.

    Args:
        device: Of the run; its queue is emptied before the clock is read.

    Attributes:
        moments: By `time.perf_counter`; the first is that of its making.
    """

    def __init__(self, device: torch.device) -> None:
        self.moments = [time.perf_counter()]
        self._device = device
        self._untimed = WARM_UP if device.type == "cuda" else 0  # the others are replays

    def after_step(self, _: Callable[[], State], /) -> None:
        """Note the time; raise Enough if no more steps are wanted."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        if self._untimed:
            self._untimed -= 1
            return
        self.moments.append(time.perf_counter())
        began, first, last = *self.moments[:2], self.moments[-1]
        if len(self.moments) > STEPS + 1 or last - first > SECONDS or first - began > PATIENCE:
            raise Enough
