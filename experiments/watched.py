"""Trainings that are looked at: what a study measures on the way becomes arrays of the trace."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.training import Record, Trainer, train


def watched(
    config: RunConfig, record: Record, look: Callable[[int, Trainer], dict[str, Any] | None]
) -> dict[str, Any]:
    """Train, and leave what `look` measured as arrays lines/<name> with one row per measured line.

    Args:
        config: The run.
        record: Takes metrics, the trace and checkpoints.
        look: Called before each step; numbers and lists by name, the same names every time, or None for no line.

    Returns:
        What `train` returns, and the number of lines.
    """
    # A run that ended after its last step takes none when it continues: its lines are in the checkpoint alone.
    saved = record.load_checkpoint()
    notes: list[dict[str, Any]] = [] if saved is None else saved["notes"]

    def note(step: int, trainer: Trainer) -> None:
        nonlocal notes
        notes = trainer.notes
        line = look(step, trainer)
        if line is not None:
            notes.append({"at": step} | line)

    result = train(config, record, note)
    for name in notes[0] if notes else ():
        record.array(f"lines/{name}", np.asarray([line[name] for line in notes]))
    return result | {"lines": len(notes)}
