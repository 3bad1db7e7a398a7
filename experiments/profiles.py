"""Profiles: what to run at which scale. A file in profiles/, one section per study.

A section may also be a list of sections, such as one for each data set: all their runs are the study's.
"""

from typing import Any

from experiments import phases, studies
from experiments.config import Strict
from experiments.errors import UserError, nearest
from experiments.phases import Outcomes, Plan
from experiments.reading import parse_fields
from experiments.source import REPOSITORY

FOLDER = REPOSITORY / "profiles"


def names() -> list[str]:
    """All profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> dict[str, list[Strict]]:
    """Settings of every study in a profile, one or more sections of each.

    Raises:
        UserError: For an unknown profile, study or key, or a value that is not allowed.
    """
    if name not in names():
        raise UserError(f"there is no profile {name!r} in {FOLDER.name}/; {nearest(name, names())}")
    where = f"{FOLDER.name}/{name}.yaml"
    studies_of = parse_fields((FOLDER / f"{name}.yaml").read_text(), where)
    return {study: _sections(where, study, values) for study, values in studies_of.items()}


def _sections(where: str, study: str, values: Any) -> list[Strict]:
    if study not in studies.names():
        raise UserError(f"{where}: there is no study {study!r}; {nearest(study, studies.names())}")
    kind, title = studies.get(study).Settings, f"{where}, section {study}"
    if isinstance(values, list) and values:
        return [kind.read(part, f"{title}, part {number}") for number, part in enumerate(values, 1)]
    return [kind.read(values, title)]


def plan(name: str, study: str, known: Outcomes = phases.finished) -> Plan:
    """All runs of a study at the scale of a profile, checked before anything is launched.

    Args:
        name: Of the profile.
        study: Its name.
        known: What is known of finished runs, which decide the settings of others.

    Raises:
        UserError: As `load`; for a study that the profile does not have; and for the same run planned twice.
    """
    sections = load(name)
    if study not in sections:
        raise UserError(f"profile {name!r} has no section {study!r}; {nearest(study, sections)}")
    plans = [phases.plan(study, section, known) for section in sections[study]]
    whole = Plan(
        [config for part in plans for config in part.runs],
        [config for part in plans for config in part.awaited],
    )
    seen: set[str] = set()
    for config in whole.runs + whole.awaited:
        key = config.key()
        if key in seen:
            raise UserError(f"profile {name!r}, section {study}: the run {config.name!r} is planned twice")
        seen.add(key)
    return whole
