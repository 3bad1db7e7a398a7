"""Which folders are finished runs, and whether their files are as they were written.

runs/<key>/SHA256SUMS names the files of the run, so that `sha256sum --check SHA256SUMS` says the same.
"""

import hashlib
import json
import logging
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.training.config import RunConfig

log = logging.getLogger(__name__)

NAME = "SHA256SUMS"

FILES = ("config.json", "cout.txt", "info.json", "metrics.json", "run.json", "trace.npz")
"""What a finished run consists of: Sacred's files, and the arrays of its trace."""


def run_folders(place: Path) -> list[Path]:
    """The directories of runs in a folder, sorted by their keys; whatever else lies there is passed over."""
    return sorted(
        path for path in place.glob("*") if re.fullmatch("[0-9a-f]{16}", path.name) and path.is_dir()
    )


def seal(folder: Path) -> None:
    """Write down the checksums of a run's files; raises FileNotFoundError if any is missing."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in FILES]
    (folder / NAME).write_text("".join(lines))


def damage(folder: Path) -> str | None:
    """What is wrong with a finished run's files, in words; None if they are as they were written."""
    if not (folder / NAME).is_file():
        return f"it has no {NAME}"
    lines = (folder / NAME).read_bytes().decode(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in FILES:
        try:
            found = _sha256(folder / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != sums.get(name):
            return f"{name} is not as it was written"
    return None


def is_whole(folder: Path, config: "RunConfig") -> bool:
    """Whether a finished run is as it was written and of this config; if not, that is said once."""
    wrong = damage(folder) or _other_config(folder, config)
    if wrong and folder.exists():  # else it was deleted just now
        _tell(folder, wrong)
    return wrong is None


def _other_config(folder: Path, config: "RunConfig") -> str | None:
    recorded = json.loads((folder / "config.json").read_text())
    same = recorded | {"key": ""} == json.loads(config.model_dump_json()) | {"key": ""}
    return None if same else "it is another run, put under this one's key"


@cache
def _tell(folder: Path, wrong: str) -> None:
    log.warning(f"the run {folder} is damaged and counts as unfinished: {wrong}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
