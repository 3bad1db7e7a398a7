"""One training from the command line."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments import runs, tracking
from experiments.config import RunConfig, resolve
from experiments.errors import UserError
from experiments.runs import FinishedRun
from experiments.studies import single


def main(words: Sequence[str], force: bool, threads: int) -> int:
    """Train one network, show how far it is and what came out."""
    config = read(words)
    console = Console()
    finished = runs.finished([config])
    if finished and force:
        shutil.rmtree(finished[0].directory)
    elif finished:
        console.print("This run is finished; --force runs it anew.")
    if force or not finished:
        torch.set_num_threads(threads)
        _train(config, console)
        finished = runs.finished([config])
    _show(finished[0], console)
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
            _put(fields, name, _value(word, value))
        else:
            fields |= _file(word)
    return resolve("single", **fields)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    section, dot, rest = name.partition(".")
    if not dot:
        fields[name] = value
    elif section == "settings":
        fields.setdefault("settings", {})[rest] = value
    else:
        raise UserError(f"there is no field {name!r}; only settings have parts, such as settings.mu")


def _value(word: str, text: str) -> Any:
    """A value as YAML reads it, but with 1e-3 a number."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return text
    except yaml.YAMLError:
        raise UserError(f"the value in {word!r} is not valid YAML") from None


def _file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not path.is_file():
        raise UserError(f"{name!r} is neither FIELD=VALUE nor a file")
    try:
        fields = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{name} must hold fields of a run, one NAME: VALUE per line")
    return fields


def _train(config: RunConfig, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(config.name, total=config.steps)
        tracking.execute(
            config,
            single.run,
            on_progress=lambda step, text: bar.update(task, completed=step, description=text),
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
