"""Trainings that are looked at: what a study measures on the way becomes arrays of the trace."""

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
    """Train, and leave what `measure` measured as arrays lines/<name> with one row per measured line.

    lines/at is the number of the step; rows of lists end in NaN where other lines have longer ones.

    Args:
        config: The run.
        record: Takes metrics, the trace and checkpoints.
        measure: Called before each step; numbers and lists by name, the same names every time, or None for no line.

    Returns:
        What `train` returns, and the number of lines.
    """
    # A run that ended after its last step takes none when it continues: its lines are in the checkpoint alone.
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
    """Numbers as they are; lists of different lengths as rows that end in NaN."""
    if not isinstance(rows[0], list):
        return np.asarray(rows)
    longest = max(map(len, rows))
    return np.asarray([row + [math.nan] * (longest - len(row)) for row in rows])


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Buffers (running statistics) and random generators come out as they went in, bit by bit."""
    moment, kept = Randomness(), [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, values in kept:
            buffer.copy_(values)
        moment.restore()
