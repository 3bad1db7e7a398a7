"""Read each source file of the project once, so that the key of a run describes the code that is executed.

Python itself would execute cached bytecode whenever the source has the same time and size as the one it was compiled
from, as files extracted from archives may have.
"""

import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

PACKAGES = ("pal", "experiments")

own: dict[str, Path] = {}
"""Modules and packages of one's own, by name: their files (see `extensions`)."""


@cache
def read(path: Path) -> bytes:
    """Content of a source file when this process first read it."""
    return path.read_bytes()


class FromSource(SourceFileLoader):
    """Compiles a module from `read` without bytecode, which takes a tenth of a second for the whole project."""

    def path_stats(self, path: str) -> Any:
        """Refuse, so that bytecode is neither read nor written."""
        raise OSError(f"bytecode of {path} is not used")

    def get_data(self, path: str) -> bytes:
        """The source."""
        return read(Path(path).resolve())


class Finder:
    """Finds the modules of the project where Python would, and loads them from source."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Called by the import system."""
        if name in own:
            return spec_of(name)
        if name.partition(".")[0] not in (*PACKAGES, *own):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin:
            spec.loader = FromSource(name, spec.origin)
        return spec


def spec_of(name: str) -> ModuleSpec | None:
    """How a module of one's own is loaded from its file."""
    file, folder = str(own[name]), str(own[name].parent)
    inside = [folder] if own[name].name == "__init__.py" else None
    return spec_from_file_location(
        name, file, loader=FromSource(name, file), submodule_search_locations=inside
    )


def install() -> None:
    """Load all further modules of the project from source."""
    sys.meta_path.insert(0, Finder)
