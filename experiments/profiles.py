"""Profiles: what to run at which scale. A file in profiles/, one section per study."""

from pathlib import Path
from typing import Any

import yaml

from experiments import studies
from experiments.config import RunConfig, Strict
from experiments.errors import UserError, nearest
from experiments.source import REPOSITORY

FOLDER = REPOSITORY / "profiles"


def names() -> list[str]:
    """All profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> dict[str, Strict]:
    """Settings of every study in a profile.

    Raises:
        UserError: For an unknown profile, study or key, or a value that is not allowed.
    """
    if name not in names():
        raise UserError(f"there is no profile {name!r} in {FOLDER.name}/; {nearest(name, names())}")
    path = FOLDER / f"{name}.yaml"
    try:
        sections: Any = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(
            f"{FOLDER.name}/{path.name} is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(sections, dict):
        raise UserError(
            f"{FOLDER.name}/{path.name} must hold one section per study; {nearest('', studies.names())}"
        )
    return {str(study): _section(path, str(study), values) for study, values in sections.items()}


def _section(path: Path, study: str, values: Any) -> Strict:
    if study not in studies.names():
        raise UserError(
            f"{FOLDER.name}/{path.name}: there is no study {study!r}; {nearest(study, studies.names())}"
        )
    return studies.get(study).Settings.read(values, f"{FOLDER.name}/{path.name}, section {study}")


def plan(name: str, study: str) -> list[RunConfig]:
    """All runs of a study at the scale of a profile, checked before anything is launched."""
    sections = load(name)
    if study not in sections:
        raise UserError(f"profile {name!r} has no section {study!r}; {nearest(study, sections)}")
    return studies.get(study).plan(sections[study])
