"""What is here, as JSON: card, versions, the commit, and which packages of the project are missing."""

import json
import os
import platform
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any

import torch

from benchmarks.gpu import machine
from experiments.common.git import git
from experiments.common.paths import REPOSITORY


def inventory() -> dict[str, Any]:
    """All of it."""
    gpu = torch.cuda.is_available()
    return {
        **machine("cuda" if gpu else "cpu"),
        **(of_card() if gpu else {}),
        "system": platform.platform(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "commit": git("rev-parse", "HEAD"),
        "missing": missing(),
        "packages": {each.name: each.version for each in sorted(distributions(), key=lambda one: one.name)},
    }


def of_card() -> dict[str, Any]:
    """Memory and capability of the card."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "card_memory_gb": round(properties.total_memory / 1e9),
        "capability": f"{properties.major}.{properties.minor}",
    }


def missing() -> list[str]:
    """Packages of the project's experiments that are not installed."""
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    names = [re.split("[^A-Za-z0-9._-]", words)[0] for words in groups["experiments"]]
    return [name for name in names if not is_installed(name)]


def is_installed(name: str) -> bool:
    """Whether a package is installed, in whatever version."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.stdout.write(json.dumps(inventory()) + "\n")
