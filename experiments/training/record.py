"""What receives the results of a training."""

from collections.abc import Callable
from typing import Any

import numpy as np

State = dict[str, Any]
"""The state on which the rest of a training depends."""


class Enough(KeyboardInterrupt):
    """Ends a training after the steps that were wanted."""


class Record:
    """Receives the results of a run, and keeps nothing of them.

    Subclasses keep what they need (see `runs.run_directory.RunRecord`) and may end the run by raising `Enough`.
    """

    def metric(self, name: str, value: float, step: int) -> None:
        """Log a finite number at a step."""

    def array(self, name: str, values: np.ndarray) -> None:
        """Add an array to the trace."""

    def step_seconds(self, seconds: float) -> None:
        """Note the time that all steps took, without evaluations, measurements and checkpoints."""

    def progress(self, step: int, words: str) -> None:
        """Report the progress of the run."""

    def load_checkpoint(self) -> State | None:
        """The last state that an interrupted attempt saved, if any."""

    def after_step(self, state: Callable[[], State], /) -> None:
        """Called after each step; saves the state if a checkpoint is due."""
