"""Why a run has to be made although others like it are finished: what changed, in the words of `runs.key.identity`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.common.paths import runs_root
from experiments.runs.integrity import run_folders
from experiments.runs.key import identity
from experiments.training.config import RunConfig

Parts = dict[str, Any]

NEW = "new"
"""The reason of a run that is like no finished one."""


def reasons(configs: Sequence[RunConfig]) -> list[str]:
    """For each run, what tells it from the most similar finished run of its study, such as "data, settings.mu"."""
    known = list(_finished())
    return [_reason(_flat(identity(config)), known) for config in configs]


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The parts in which two identities differ."""
    one, other = _flat(first), _flat(second)
    return _different(one, other)


def _finished() -> Iterator[Parts]:
    """The identities of all finished runs here."""
    for folder in run_folders(runs_root()):
        found = recorded(folder)
        if found is not None:
            yield _flat(found)


def recorded(folder: Path) -> Parts | None:
    """The identity that a run had when it was made; None if its files do not say it."""
    try:
        config, info = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("config", "info"))
        fields = {name: config[name] for name in config if name not in ("key", "extensions")}
        return info["identity"] | {"config": fields}
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or deleted just now
        return None


def _flat(parts: Mapping[str, Any]) -> Parts:
    """The parts with names as users know them: fields of the config, settings.NAME, package NAME."""
    config = dict(parts["config"])
    settings = {f"settings.{name}": value for name, value in config.pop("settings").items()}
    packages = {f"package {name}": value for name, value in parts["packages"].items()}
    others = {name: parts[name] for name in parts if name not in ("config", "packages")}
    return others | packages | config | settings


def _reason(wanted: Parts, known: Sequence[Parts]) -> str:
    alike = [each for each in known if _kind(each) == _kind(wanted)]
    if not alike:
        return NEW
    return ", ".join(min((_different(wanted, each) for each in alike), key=len)) or "damaged or deleted"


def _kind(parts: Parts) -> tuple[Any, ...]:
    return tuple(parts.get(name) for name in ("study", "problem", "method", "seed"))


IMPLIED = {"problem": ("steps", "batch_size", "l2", "train_size"), "instruction set": ("instruction_set",)}
"""Parts that only repeat what fields of the config say, where these differ."""


def _different(one: Parts, other: Parts) -> list[str]:
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    return [name for name in names if not any(field in names for field in IMPLIED.get(name, ()))]
