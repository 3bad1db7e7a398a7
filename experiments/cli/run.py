"""One training from the command line."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from ruamel.yaml import YAML

from experiments.common.errors import UserError
from experiments.common.paths import is_file
from experiments.common.progress import progress_bar
from experiments.common.yaml_files import parse, read_fields
from experiments.runs import launcher
from experiments.runs.finished import FinishedRun, delete_runs, find_finished
from experiments.runs.launcher import Board, Failure
from experiments.studies.base import get_study
from experiments.training.config import RunConfig, resolve

log = logging.getLogger(__name__)


def main(config: RunConfig, force: bool) -> int:
    """Train one network in a worker, as studies do; show progress and results.

    Returns:
        0, or 1 if the run failed.
    """
    console = Console()
    finished = find_finished([config])
    if finished and not force:
        console.print("This run is finished; --force runs it again.")
    else:
        delete_runs(finished)
        failures = launch_one(config)
        if failures:
            log.error(f"{failures[0].reason}\n{failures[0].log}")
            return 1
    _show(find_finished([config])[0], console)
    return 0


def read(words: Sequence[str]) -> RunConfig:
    """The run described by FIELD=VALUE words and files; later ones win. The config.json of a run keeps its study.

    Raises:
        UserError: For a word that is neither, and for unknown fields and values that are not allowed.
    """
    fields: dict[str, Any] = {}
    study = "single"
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            _put(fields, name, parse(value, f"the value in {word!r}"))
            continue
        found = _file(word)
        if found.pop("key", None) is not None:
            study = str(found.pop("study", study))
        fields |= found
    if "study" in fields:
        raise UserError("there is no field 'study': a single run does not belong to a study")
    get_study(study)
    return resolve(study, **fields)


def as_yaml(config: RunConfig) -> str:
    """All fields, as `read` takes them from a file."""
    text = io.StringIO()
    YAML().dump(config.model_dump(exclude={"study"}), text)
    return text.getvalue()


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    section, dot, rest = name.partition(".")
    if not dot:
        fields[name] = value
    elif section == "settings" and isinstance(fields.setdefault("settings", {}), dict):
        fields["settings"][rest] = value
    else:
        raise UserError(
            f"there is no field {name!r}; only `settings` has fields of its own, such as settings.mu"
        )


def _file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not is_file(path):
        raise UserError(f"{name!r} is neither FIELD=VALUE nor a file")
    return read_fields(path, name)


def launch_one(config: RunConfig) -> list[Failure]:
    """Execute one run in a worker, and show how far it is; returns what failed."""
    with progress_bar(config.name) as show:

        def tell(board: Board) -> None:
            show(board.done * config.steps, config.steps, board.words)

        return launcher.launch([config], 1, tell)


def _show(run: FinishedRun, console: Console) -> None:
    losses = run.trace["train_loss"]
    console.print(run.config.name, style="bold", highlight=False)
    console.print(
        f"training loss per step: {losses[:10].mean():.4g} (first 10) -> {losses[-10:].mean():.4g} (last 10)"
    )
    for name, value in run.result.items():
        console.print(
            f"  {name:<20} {value if not isinstance(value, float) else f'{value:.6g}'}", highlight=False
        )
    console.print(f"{run.seconds:.1f} s, {run.directory}", highlight=False, soft_wrap=True)
