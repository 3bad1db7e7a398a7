"""Profiles: what to run at which scale. A file in profiles/, one section per study."""

from typing import Any

from experiments import studies
from experiments.config import RunConfig, Strict
from experiments.errors import UserError, nearest
from experiments.reading import parse_fields
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
    where = f"{FOLDER.name}/{name}.yaml"
    sections = parse_fields((FOLDER / f"{name}.yaml").read_text(), where)
    return {study: _section(where, study, values) for study, values in sections.items()}


def _section(where: str, study: str, values: Any) -> Strict:
    if study not in studies.names():
        raise UserError(f"{where}: there is no study {study!r}; {nearest(study, studies.names())}")
    return studies.get(study).Settings.read(values, f"{where}, section {study}")


def plan(name: str, study: str) -> list[RunConfig]:
    """All runs of a study at the scale of a profile, checked before anything is launched.

    Raises:
        UserError: As `load`; for a study that the profile does not have; and for the same run planned twice.
    """
    sections = load(name)
    if study not in sections:
        raise UserError(f"profile {name!r} has no section {study!r}; {nearest(study, sections)}")
    configs = studies.get(study).plan(sections[study])
    seen: set[str] = set()
    for config in configs:
        if config.key() in seen:
            raise UserError(f"profile {name!r}, section {study}: the run {config.name!r} is planned twice")
        seen.add(config.key())
    return configs
