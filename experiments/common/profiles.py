"""Which profiles there are."""

from pathlib import Path

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
