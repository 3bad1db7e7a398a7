"""Find the directories of finished runs, and check their files.

runs/<key>/SHA256SUMS lists the checksums; `sha256sum --check SHA256SUMS` verifies them, too.
"""

import hashlib
import json
import logging
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.common.paths import regular

if TYPE_CHECKING:
    from experiments.training.config import RunConfig

log = logging.getLogger(__name__)

NAME = "SHA256SUMS"

FILES = ("config.json", "cout.txt", "info.json", "metrics.json", "run.json", "trace.npz")
"""Files of a finished run: those of Sacred, and the arrays of its trace."""

CHANGES = "changes.diff"
"""A further file of runs whose code no commit has: what `git apply` adds to the commit."""


def run_folders(place: Path) -> list[Path]:
    """Directories of runs in a folder, sorted by key; everything else there is ignored."""
    return sorted(
        path for path in place.glob("*") if re.fullmatch("[0-9a-f]{16}", path.name) and path.is_dir()
    )


def seal(folder: Path) -> None:
    """Write the checksums of a run's files; raises FileNotFoundError if one is missing."""
    names = [*FILES, *([CHANGES] if (folder / CHANGES).exists() else [])]
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / NAME).write_text("".join(lines))


def damage(folder: Path) -> str | None:
    """What is wrong with the files of a finished run, in words; None if all match their checksums."""
    try:
        lines = regular(folder / NAME).read_bytes().decode(errors="replace").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        names = dict.fromkeys([*FILES, *(name for name in sums if name == CHANGES)])
        wrong = next((name for name in names if _sha256(folder / name) != sums.get(name)), None)
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    return wrong and f"{wrong} does not match its checksum"


def is_whole(folder: Path, config: "RunConfig") -> bool:
    """Whether a finished run is undamaged and has this config; if not, that is logged once."""
    wrong = damage(folder) or _other_config(folder, config)
    if wrong and folder.exists():  # else it was deleted just now
        _tell(folder, wrong)
    return wrong is None


ELSEWHERE = {"key": "", "extensions": []}
"""Fields of a config that do not say what a run is: the name of its folder, and where code of one's own lies."""


def _other_config(folder: Path, config: "RunConfig") -> str | None:
    recorded = json.loads((folder / "config.json").read_text())
    same = recorded | ELSEWHERE == json.loads(config.model_dump_json()) | ELSEWHERE
    return None if same else "it is the directory of another run"


@cache
def _tell(folder: Path, wrong: str) -> None:
    log.warning(f"the run {folder} is damaged and counts as unfinished: {wrong}")


def _sha256(path: Path) -> str:
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
