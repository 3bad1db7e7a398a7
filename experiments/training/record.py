"""Where a training leaves what it found."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Record(Protocol):
    """Where a run leaves what it found (see `tracking.Record`)."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One finite number at one step."""
        ...

    def array(self, name: str, values: np.ndarray) -> None:
        """One array of the trace."""
        ...

    @property
    def progress(self) -> Callable[[int, str], None]:
        """Told how far the run is: the step and a few words."""
        ...

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What an interrupted attempt saved last."""
        ...

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all."""
        ...

    @property
    def checkpoint_seconds(self) -> float:
        """Time between checkpoints."""
        ...


class Enough(KeyboardInterrupt):
    """All steps that were wanted are taken."""


class NullRecord:
    """A record that keeps nothing. What is wanted of the run a subclass takes, and ends it by raising `Enough`."""

    @property
    def checkpoint_seconds(self) -> float:
        """Asked for once after each step; a checkpoint is never due."""
        return math.inf

    def load_checkpoint(self) -> dict[str, Any] | None:
        """There is none."""
        return None

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Not kept."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Not kept."""

    def array(self, name: str, values: np.ndarray) -> None:
        """Not kept."""

    @property
    def progress(self) -> Callable[[int, str], None]:
        """Not shown."""
        return lambda *_: None
