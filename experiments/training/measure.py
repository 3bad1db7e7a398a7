"""Trainings with measurements, which become arrays of the trace."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import nn

from experiments.training.config import RunConfig
from experiments.training.loop import train
from experiments.training.record import Record
from experiments.training.trainer import Trainer
from pal.randomness import Randomness


def train_and_measure(
    config: RunConfig, record: Record, measure: Callable[[int, Trainer], dict[str, Any] | None]
) -> dict[str, Any]:
    """Train, and record what `measure` returns as arrays lines/<name> with one row per measured line.

    lines/at is the number of the step; shorter lists are padded with NaN.

    Args:
        config: The run.
        record: Receives metrics, the trace and checkpoints.
        measure: Called before each step; returns numbers and lists by name, always the same names, or None for no line.

    Returns:
        What `train` returns, and the number of lines.
    """
    # A run that was interrupted after its last step takes none when it resumes: its lines are in the checkpoint only.
    saved = record.load_checkpoint()
    notes: list[dict[str, Any]] = [] if saved is None else saved["notes"]

    def note(step: int, trainer: Trainer) -> None:
        nonlocal notes
        notes = trainer.notes
        line = measure(step, trainer)
        if line is not None:
            notes.append({"at": step} | line)

    result = train(config, record, note)
    for name in notes[0] if notes else ():
        record.array(f"lines/{name}", padded([line[name] for line in notes]))
    return result | {"lines": len(notes)}


def padded(rows: Sequence[Any]) -> np.ndarray:
    """Numbers as an array; lists of different lengths as rows padded with NaN."""
    if not isinstance(rows[0], list):
        return np.asarray(rows)
    longest = max(map(len, rows))
    return np.asarray([row + [math.nan] * (longest - len(row)) for row in rows])


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """A context that restores buffers (running statistics) and random generators at its end, bitwise."""
    moment, kept = Randomness(), [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, values in kept:
            buffer.copy_(values)
        moment.restore()
