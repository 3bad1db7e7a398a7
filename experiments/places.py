"""Where runs are kept."""

import os
from pathlib import Path

from experiments.source import REPOSITORY


def root() -> Path:
    """Folder of all runs: $PAL_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("PAL_RUNS") or REPOSITORY / "runs").absolute()
