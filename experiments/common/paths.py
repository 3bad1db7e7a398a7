"""Where things are, and files that are there whole or not at all."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def runs_root() -> Path:
    """Folder of all runs: $PAL_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("PAL_RUNS") or REPOSITORY / "runs").absolute()


def write_whole(path: Path, text: str) -> Path:
    """Write a file and its folders; whoever reads it meanwhile sees the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
    return path
