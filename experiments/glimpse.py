"""The first steps of a run, taken here and now and kept nowhere."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Enough(KeyboardInterrupt):
    """All steps that were wanted are taken."""


class Glimpse:
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
