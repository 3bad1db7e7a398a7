"""One training with settings of your own: `python -m experiments run`."""

from typing import Any

from experiments.config import RunConfig, Strict, resolve
from experiments.training import Record, train


class Settings(Strict):
    """Trainings, each written as on the command line.

    Attributes:
        runs: Fields of `RunConfig`; what is missing is taken from the problem and the optimizer.
    """

    runs: list[dict[str, Any]]


def plan(settings: Settings) -> list[RunConfig]:
    """The trainings, resolved."""
    return [resolve("single", **run) for run in settings.runs]


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training."""
    return train(config, record)
