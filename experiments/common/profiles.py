"""Which profiles there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError, nearest
from experiments.common.paths import REPOSITORY

FOLDER = REPOSITORY / "profiles"


def profile_names() -> list[str]:
    """All profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def profile_path(name: str) -> Path:
    """The file of a profile; raises UserError with the nearest names if there is none."""
    if name not in profile_names():
        raise UserError(f"there is no profile {name!r} in {FOLDER.name}/; {nearest(name, profile_names())}")
    return FOLDER / f"{name}.yaml"


def parts(sections: Mapping[str, Any]) -> dict[str, int]:
    """Number of parts of each study of a profile if any section is a list of several; empty if none is."""
    counts = {study: len(values) if isinstance(values, list) else 1 for study, values in sections.items()}
    return counts if any(count > 1 for count in counts.values()) else {}
