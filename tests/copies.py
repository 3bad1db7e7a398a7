"""A copy of the repository, for tests that change its code; git in folders of a test's own."""

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


def forget_code(*further) -> None:
    """Have all source files read again, and what these modules know of them."""
    from experiments.common import code_digest, definitions, source  # which pal is tested without

    definitions.read_files.clear()
    for module in (source, definitions, code_digest, *further):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def git(folder: Path, *words: str) -> str:
    """What git answers to somebody with a name."""
    author = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    return subprocess.check_output(["git", *author, *words], cwd=folder, text=True).strip()
