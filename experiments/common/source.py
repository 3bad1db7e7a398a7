"""The source of every module of the project, read once, so that the key of a run speaks of the code that runs.

Python itself would run kept bytecode wherever the source has the time and length of the one that it was made of, as
files out of archives may have.
"""

import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

PACKAGES = ("pal", "experiments")


@cache
def read(path: Path) -> bytes:
    """A source file as it was when this process first read it."""
    return path.read_bytes()


class FromSource(SourceFileLoader):
    """Compiles a module from `read` and keeps no bytecode: for the whole project that takes a tenth of a second."""

    def path_stats(self, path: str) -> Any:
        """Refused, so that bytecode is neither looked for nor written."""
        raise OSError(f"bytecode of {path} is not used")

    def get_data(self, path: str) -> bytes:
        """The source."""
        return read(Path(path).resolve())


class Finder:
    """Finds the project's modules where Python would, and has them loaded from their source."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """What the import system asks for."""
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin:
            spec.loader = FromSource(name, spec.origin)
        return spec


def install() -> None:
    """Have all further modules of the project loaded from their source."""
    sys.meta_path.insert(0, Finder)
