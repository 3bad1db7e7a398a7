"""The final weights of a finished run: a run keeps none, so it is made again."""

import io
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.cli.repeat import config_of, find
from experiments.common.errors import UserError
from experiments.common.paths import is_stream, write_output
from experiments.common.progress import Show, progress_bar
from experiments.runs import launcher
from experiments.runs.finished import FinishedRun
from experiments.runs.provenance import provenance
from experiments.studies.base import get_study
from experiments.training.config import RunConfig
from experiments.training.record import Record, State

log = logging.getLogger(__name__)


class LastWeights(Record):
    """Keeps the weights after the last step, and nothing else.

    Args:
        steps: Number of steps of the run.
        show: Told how far it is.
    """

    def __init__(self, steps: int, show: Show) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        self._steps, self._taken, self._show = steps, 0, show

    def progress(self, step: int, words: str) -> None:
        """Show how far the run is."""
        self._show(step, self._steps, words)

    def after_step(self, state: Callable[[], State], /) -> None:
        """Copy the weights after the last step: final measurements may change statistics of batch norm."""
        self._taken += 1
        if self._taken == self._steps:
            self.weights = {name: value.detach().cpu().clone() for name, value in state()["model"].items()}


def main(word: str, output: str) -> int:
    """Repeat the run that a key, the beginning of one, or Omniboard's id names, and write its final weights.

    Returns:
        0 if all results are the same as then, else 1; the weights are those of the new execution.

    Raises:
        UserError: If no run, or more than one, is meant, if it diverged, or if it cannot be made again here.
    """
    folder = find(word)
    old = FinishedRun(folder.name, config_of(folder), folder)
    if old.result["status"] != "completed":
        raise UserError(f"the run {old.key} diverged, so it has no final weights")
    _require_place(Path(output))
    result, weights = _repeated(old.config)
    content = io.BytesIO()
    torch.save(weights, content)
    write_output(Path(output), content.getvalue())
    other = sorted(name for name, value in old.result.items() if result.get(name) != value)
    if other:
        log.warning(f"other results than then: {', '.join(other)}; `repeat {old.key}` shows them, and why")
    return 1 if other else 0


def _require_place(file: Path) -> None:
    """Raise an error before hours of training, not after, if the weights cannot be written there."""
    if file.is_dir():
        raise UserError(f"{str(file)!r} is a folder; --output names a file, such as {file / 'weights.pt'}")
    if is_stream(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=file.parent):
        pass


def _repeated(config: RunConfig) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Results and final weights of a run."""
    launcher.prepare([config])
    torch.set_num_threads(config.threads)
    provenance(config)  # raises UserError if this process has other instructions than the run asks for
    with progress_bar(config.name) as show:
        record = LastWeights(config.steps, show)
        result = get_study(config.study).run(config, record)
    if not record.weights:
        raise UserError(f"the run diverged now, after {result['steps']} of {config.steps} steps")
    return result, record.weights
