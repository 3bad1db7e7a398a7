"""One training from the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.common.errors import UserError
from experiments.common.paths import is_file
from experiments.common.progress import progress_bar
from experiments.common.yaml_files import parse, read_fields
from experiments.runs import launcher, run_directory
from experiments.runs.finished import FinishedRun, delete_runs, find_finished
from experiments.studies import single
from experiments.training.config import RunConfig, resolve


def main(words: Sequence[str], force: bool, threads: int) -> int:
    """Train one network, show how far it is and what came out."""
    config = read(words)
    console = Console()
    finished = find_finished([config])
    if finished and not force:
        console.print("This run is finished; --force runs it again.")
    else:
        launcher.prepare([config])
        delete_runs(finished)
        torch.set_num_threads(threads)
        _train(config)
    _show(find_finished([config])[0], console)
    return 0


def read(words: Sequence[str]) -> RunConfig:
    """The run that FIELD=VALUE words and files describe; later ones win.

    Raises:
        UserError: For a word that is neither, and for unknown fields and values that are not allowed.
    """
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            _put(fields, name, parse(value, f"the value in {word!r}"))
        else:
            fields |= _file(word)
    if "study" in fields:
        raise UserError("there is no field 'study': a single run belongs to no study")
    return resolve("single", **fields)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    section, dot, rest = name.partition(".")
    if not dot:
        fields[name] = value
    elif section == "settings" and isinstance(fields.setdefault("settings", {}), dict):
        fields["settings"][rest] = value
    else:
        raise UserError(f"there is no field {name!r}; only settings have parts, such as settings.mu")


def _file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not is_file(path):
        raise UserError(f"{name!r} is neither FIELD=VALUE nor a file")
    return read_fields(path, name)


def _train(config: RunConfig) -> None:
    with progress_bar(config.name) as show:
        run_directory.execute(
            config, single.STUDY.run, on_progress=lambda step, words: show(step, config.steps, words)
        )


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
