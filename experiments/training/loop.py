"""One training run: batches, steps, evaluations, a trace, checkpoints."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.training.config import RunConfig
from experiments.training.record import Record
from experiments.training.trainer import Trainer

SHOW_SECONDS = 0.2
"""Time between reports of progress."""

SCORES = ("test_loss", "test_accuracy", "final_val_accuracy_reestimated", "test_accuracy_reestimated")
"""Results that a run lacks if it diverged."""


def train(
    config: RunConfig, record: Record, on_step: Callable[[int, Trainer], None] | None = None
) -> dict[str, Any]:
    """Train; an interrupted run resumes from its checkpoint, with bitwise identical results.

    Args:
        config: The run.
        record: Receives metrics, the trace and checkpoints.
        on_step: Called before each step with its number and the trainer, which has the batch of the step.

    Returns:
        final_train_loss (mean l(0) since the last evaluation but one), final_data_loss (the same without the L2 term),
        min_train_loss, best_val_accuracy, final_val_accuracy, final_val_loss, test_loss, test_accuracy, both accuracies
        after batch-norm statistics were re-estimated (`Trainer.final_scores`), steps, and status: "completed", or
        "diverged" if the mean training loss between two evaluations was not finite. Values that do not exist are None.
    """
    trainer = Trainer(config)
    saved = record.load_checkpoint()
    if saved is not None:
        trainer.load_state(saved)
    for at, values in enumerate(_rows(trainer.history)):
        _log(record, values, int(trainer.history["evaluation_step"][at]))
    diverged = _steps(trainer, record, on_step)
    for name, values in trainer.trace.items():
        record.array(name, values[: trainer.step].cpu().numpy())
    for name, values in trainer.history.items():
        record.array(f"evaluations/{name}", np.asarray(values))
    record.step_seconds(trainer.step_seconds)
    return _result(trainer, diverged)


def _steps(trainer: Trainer, record: Record, on_step: Callable[[int, Trainer], None] | None) -> bool:
    """Take the remaining steps; returns whether the training loss stopped being finite."""
    config, words = trainer.config, ""
    shown_at = time.monotonic()
    record.progress(trainer.step, words)
    while trainer.step < config.steps:
        trainer.draw()
        if on_step is not None:
            on_step(trainer.step, trainer)
        trainer.advance()
        if trainer.step % config.evaluate_every == 0 or trainer.step == config.steps:
            values = trainer.evaluate()
            _log(record, values, trainer.step)
            if not math.isfinite(values["train_loss"]):
                return True
            words = f"training loss {values['train_loss']:.4g}"
        if time.monotonic() - shown_at > SHOW_SECONDS or trainer.step == config.steps:
            record.progress(trainer.step, words)
            shown_at = time.monotonic()
        record.after_step(trainer.state)
    return False


def _rows(history: dict[str, list[float]]) -> list[dict[str, float]]:
    return [dict(zip(history, row, strict=True)) for row in zip(*history.values(), strict=True)]


def _log(record: Record, values: dict[str, float], step: int) -> None:
    """Log the finite values only, since viewers may draw NaN as 0."""
    for name, value in values.items():
        if name != "evaluation_step" and math.isfinite(value):
            record.metric(name, value, step)


def _result(trainer: Trainer, diverged: bool) -> dict[str, Any]:
    history = trainer.history
    accuracies = [value for value in history["val_accuracy"] if math.isfinite(value)]
    scores = dict.fromkeys(SCORES) if diverged else trainer.final_scores()
    return {
        "status": "diverged" if diverged else "completed",
        "steps": trainer.step,
        "final_train_loss": _finite(history["train_loss"][-1]),
        "final_data_loss": _finite(history["data_loss"][-1]),
        "min_train_loss": _finite(min(filter(math.isfinite, history["train_loss"]), default=math.nan)),
        "final_val_loss": _finite(history["val_loss"][-1]),
        "final_val_accuracy": _finite(history["val_accuracy"][-1]),
        "best_val_accuracy": max(accuracies, default=None),
    } | {name: _finite(value) for name, value in scores.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
