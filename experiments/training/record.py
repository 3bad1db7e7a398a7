"""Where a training leaves what it found."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

State = dict[str, Any]
"""Everything that the rest of a training depends on."""


class Record(Protocol):
    """Where a run leaves what it found (see `runs.run_directory.Record`)."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One finite number at one step."""
        ...

    def array(self, name: str, values: np.ndarray) -> None:
        """One array of the trace."""
        ...

    def progress(self, step: int, words: str) -> None:
        """How far the run is."""
        ...

    def load_checkpoint(self) -> State | None:
        """What an interrupted attempt saved last."""
        ...

    def after_step(self, state: Callable[[], State], /) -> None:
        """Called after each step; saves the state if a checkpoint is due."""
        ...


class Enough(KeyboardInterrupt):
    """All steps that were wanted are taken."""


class NullRecord:
    """A record that keeps nothing. A subclass takes what is wanted of the run, and ends it by raising `Enough`."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Not kept."""

    def array(self, name: str, values: np.ndarray) -> None:
        """Not kept."""

    def progress(self, step: int, words: str) -> None:
        """Not shown."""

    def load_checkpoint(self) -> State | None:
        """There is none."""
        return None

    def after_step(self, state: Callable[[], State], /) -> None:
        """Nothing to do."""
