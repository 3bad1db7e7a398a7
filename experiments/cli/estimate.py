"""Estimate how long the remaining runs take, from finished runs of the same kind, or from a few steps taken here.

The time of a run is that of its start, its steps, the measurements of its study, and its evaluations. Start, steps and
evaluations are timed once for all runs that share them; studies give the cost of their measurements in forward passes.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.table import Table

from experiments.common.progress import duration, progress_bar
from experiments.problems.listing import cost
from experiments.runs import launcher
from experiments.runs.finished import FinishedRun, divided
from experiments.runs.key import run_key
from experiments.runs.reasons import reasons
from experiments.studies.base import evenly_spaced, get_study
from experiments.training.config import RunConfig, device_of
from experiments.training.cuda_graphs import WARM_UP
from experiments.training.loop import train
from experiments.training.record import Enough, Record, State
from experiments.training.trainer import STATISTICS_BATCHES, Trainer

STEPS, SECONDS, PATIENCE = 8, 0.5, 10.0
"""After a first step, which counts as start-up, steps are timed until there are so many or they took so long; none if
the first took longer than one has patience. On a GPU the start ends with the first replayed step."""

EXAMPLES = 256
"""Of the validation data, on which evaluations are timed."""

PASSES_PER_STEP = 3
"""Forward passes that take as long as a step of SGD."""

BUDGET = 60.0
"""Seconds after which networks are no longer timed with each of their optimizers."""

SLOW_CORE, FEWEST = 1e10, 4
"""Floating-point operations per second of a slow core, and the fewest examples that a step is timed with."""

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


def table(configs: Sequence[RunConfig], slots: int, parts: Mapping[str, set[str]]) -> Table:
    """Runs, how many are finished, and the time for the others, by study, problem and method; then by part, and all.

    Args:
        configs: The runs.
        slots: Runs at a time, by which the times of parts and of all are divided.
        parts: Keys of the runs of each part, by its name.
    """
    finished, left = divided(configs)
    seconds = estimate(list(left.values()), finished)
    why = dict(zip(left, reasons(list(left.values())), strict=True))
    rows: dict[tuple[str, ...], list[RunConfig]] = defaultdict(list)
    for config in configs:
        rows[config.study, config.problem, config.method].append(config)
    shown = Table(*COLUMNS)
    for names, group in rows.items():
        shown.add_row(*names, *_numbers(group, seconds, 1), _because(group, why))
    shown.add_section()
    for name, members in parts.items():
        group = [config for config in configs if run_key(config) in members]
        if group:
            shown.add_row(name, "", f"slots: {slots}", *_numbers(group, seconds, slots))
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
    """Seconds of each remaining run, by key; raises UserError if the data of a run are not available."""
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
    """The fields that runs of about the same time per step share."""
    return config.study, config.problem, config.optimizer, config.batch_size, config.train_size, config.dtype


def measurements(config: RunConfig) -> int:
    """At how many steps the study measures, as its `measure` says: every `every` steps, or those of the `last` so many;
    or the first `first`, and `even` ones spread over the run; each step if it names none of these.
    """
    if config.measure is None:
        return 0
    if "even" in config.measure:
        first = range(min(config.measure["first"], config.steps))
        return len({*first, *evenly_spaced(config.measure["even"], config.steps)})
    every, last = config.measure.get("every", 1), config.measure.get("last", config.steps)
    before = max(0, last - config.steps)  # of a span longer than the run, only its end is trained
    return math.ceil(last / every) - math.ceil(before / every)


class Clock:
    """Times the parts of runs here and now: start, steps and evaluations, each kind of part once.

    After `BUDGET` seconds, a network is timed with one optimizer only, and each optimizer on one network; how much
    longer steps with another optimizer take is then taken from the networks that were timed with both.
    """

    def __init__(self) -> None:
        self._paces: dict[tuple[Any, ...], dict[str, tuple[float, float]]] = defaultdict(dict)
        self._evaluations: dict[tuple[Any, ...], float] = {}
        self._end = time.monotonic() + BUDGET

    def seconds(self, config: RunConfig) -> float:
        """The whole run: start, steps, measurements, evaluations and final scores."""
        problem = config.resolved_problem
        model = (problem.network, problem.dataset, problem.augment, config.l2 > 0, config.batch_size)
        model += (config.dtype, config.device, config.deterministic)
        start, step = self._pace(model, config)
        if model not in self._evaluations:
            self._evaluations[model] = _evaluation(config)
        seconds = start + config.steps * step
        seconds += measurements(config) * get_study(config.study).cost(config) * step / PASSES_PER_STEP
        train, validation, test = problem.examples
        statistics = min(train, STATISTICS_BATCHES * config.batch_size)
        examples = (math.ceil(config.steps / config.evaluate_every) + 1) * validation + 2 * test + statistics
        return seconds + self._evaluations[model] * examples

    def _pace(self, model: tuple[Any, ...], config: RunConfig) -> tuple[float, float]:
        """Seconds of a run up to its first step, and of each further one."""
        known = self._paces[model]
        if config.optimizer not in known:
            elsewhere = any(config.optimizer in paces for paces in self._paces.values())
            late = known and elsewhere and time.monotonic() > self._end
            known[config.optimizer] = self._guess(known, config.optimizer) if late else _pace(config)
        return known[config.optimizer]

    def _guess(self, known: dict[str, tuple[float, float]], optimizer: str) -> tuple[float, float]:
        """The pace of a network with an optimizer, from that with another one."""
        other, (start, step) = next(iter(known.items()))
        ratios = [
            paces[optimizer][1] / paces[other][1]
            for paces in self._paces.values()
            if optimizer in paces and other in paces
        ]
        return start, step * float(np.median(ratios or [1.0]))


def _pace(config: RunConfig) -> tuple[float, float]:
    """Seconds of a run up to its first step, and of each further one; there are no evaluations among them.

    Steps of large networks are timed with fewer examples.
    """
    device, examples = device_of(config), _affordable(config, config.batch_size, PASSES_PER_STEP)
    watch, scale = Stopwatch(device), config.batch_size / examples
    changes = {"steps": ENDLESS, "evaluate_every": ENDLESS, "batch_size": examples}
    with suppress(Enough):
        train(config.model_copy(update=changes), watch)
    start, *steps = np.diff(watch.moments).tolist()
    return start, scale * float(np.mean(steps or start))


def _affordable(config: RunConfig, examples: int, passes: int) -> int:
    """The number of examples that take a slow core about a second."""
    problem = config.resolved_problem
    if device_of(config).type != "cpu":
        return examples
    _, operations = cost(problem.network, problem.data.shape, problem.data.outputs)
    return max(FEWEST, min(examples, int(SLOW_CORE / (passes * max(1, operations)))))


def _evaluation(config: RunConfig) -> float:
    """Seconds for each example."""
    trainer = Trainer(config)
    some = trainer.splits.validation.part(slice(_affordable(config, EXAMPLES, 1)))
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
