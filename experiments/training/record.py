"""What receives the results of a training."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

State = dict[str, Any]
"""The state on which the rest of a training depends."""


class Record(Protocol):
    """Receives the results of a run (see `runs.run_directory.Record`)."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Log a finite number at a step."""
        ...

    def array(self, name: str, values: np.ndarray) -> None:
        """Add an array to the trace."""
        ...

    def progress(self, step: int, words: str) -> None:
        """Report the progress of the run."""
        ...

    def load_checkpoint(self) -> State | None:
        """The last state that an interrupted attempt saved, if any."""
        ...

    def after_step(self, state: Callable[[], State], /) -> None:
        """Called after each step; saves the state if a checkpoint is due."""
        ...


class Enough(KeyboardInterrupt):
    """Ends a training after the steps that were wanted."""


class NullRecord:
    """A record that keeps nothing. Subclasses keep what they need of a run and may end it by raising `Enough`."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Not kept."""

    def array(self, name: str, values: np.ndarray) -> None:
        """Not kept."""

    def progress(self, step: int, words: str) -> None:
        """Not reported."""

    def load_checkpoint(self) -> State | None:
        """No checkpoint."""
        return None

    def after_step(self, state: Callable[[], State], /) -> None:
        """Nothing to do."""
