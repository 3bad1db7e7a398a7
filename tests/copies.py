"""A copy of the repository, for tests that change its code."""

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LEFT_OUT = ("tests/", "results/", "figures/", "reports/")


def repository_copy(root: Path) -> Path:
    """Copy the files that git knows or would add, without tests and results."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    for name in known:
        if (REPOSITORY / name).is_file() and not name.startswith(LEFT_OUT):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    return root
