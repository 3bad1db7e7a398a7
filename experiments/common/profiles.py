"""Profiles: which there are, their sections, and the extensions that they name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.common import extensions
from experiments.common.errors import UserError, nearest
from experiments.common.paths import REPOSITORY
from experiments.common.yaml_files import read_fields

FOLDER = REPOSITORY / "profiles"


def profile_names() -> list[str]:
    """All profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def profile_path(name: str) -> Path:
    """The file of a profile; raises UserError with the nearest names if there is none."""
    if name not in profile_names():
        raise UserError(f"there is no profile {name!r} in {FOLDER.name}/; {nearest(name, profile_names())}")
    require_plain("profile", name)
    return FOLDER / f"{name}.yaml"


def require_plain(kind: str, name: str) -> None:
    """Raise UserError for a name that means something else to a shell, which executes the commands of the pipeline."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(f"the {kind} {name!r} needs another name: letters, digits, and . + - _ inside of it")


EXTENSIONS = "extensions"
"""The key of a profile that names modules of one's own; all other keys are studies."""


def load_extensions(name: str) -> None:
    """Import the extensions of a profile; raises UserError if that is not possible, or if two things have one name."""
    for path in extensions_of(name):
        try:
            extensions.load([path])
        except SystemExit:
            raise UserError(
                f"the extension {path} ends Python when it is imported; put what only a program does, such as "
                "sys.exit and argparse, below `if __name__ == '__main__':`"
            ) from None
    extensions.require_distinct()


def extensions_of(name: str) -> list[str]:
    """The extensions of a profile as `extensions.load` takes them; in the profile, paths are relative to its folder."""
    path = profile_path(name)
    paths = read_fields(path, _where(path)).get(EXTENSIONS, [])
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise UserError(f"{_where(path)}: {EXTENSIONS} is {paths!r:.80}; it must be a list of paths")
    return [extensions.recorded(one, path.parent) for one in paths]


def sections(name: str) -> dict[str, Any]:
    """What a profile says of each study, as it stands there."""
    path = profile_path(name)
    return {key: value for key, value in read_fields(path, _where(path)).items() if key != EXTENSIONS}


def _where(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def parts(sections: Mapping[str, Any]) -> dict[str, int]:
    """Number of parts of each study of a profile if any section is a list of several; empty if none is."""
    counts = {study: len(values) if isinstance(values, list) else 1 for study, values in sections.items()}
    return counts if any(count > 1 for count in counts.values()) else {}
