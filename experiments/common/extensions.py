"""Things of one's own: modules outside of the package, which a profile names under `extensions`.

An extension is a Python file, or a folder with an `__init__.py`. What it adds stands in variables that are called like
the registries (see `registry`): DATASETS, NETWORKS, OBJECTIVES, PROBLEMS, OPTIMIZERS, STUDIES, TABLES, FIGURES, CLAIMS.

A run depends on the part of an extension that its own things are made of, not on the rest (see `code_digest`). Its
configuration names the file, so that other processes find it.
"""

import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

from experiments.common import source
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, is_file
from experiments.common.registry import name_of, own_things, register

Things = Mapping[str, str]
"""Names of things, by the variable of their registry."""

VARIABLES = ("DATASETS", "NETWORKS", "OBJECTIVES", "PROBLEMS", "OPTIMIZERS")
VARIABLES += ("STUDIES", "TABLES", "FIGURES", "CLAIMS")


def load(paths: Iterable[str]) -> None:
    """Import extensions that have not been imported, and add what they have to the registries.

    Args:
        paths: Files or folders, relative to the repository or absolute.

    Raises:
        UserError: If there is no such file, if it cannot be imported, or if a name is taken.
    """
    for path in paths:
        _load(path)


def _load(path: str) -> None:
    file = _file(path)
    name = file.parent.name if file.name == "__init__.py" else file.stem
    if source.own.get(name) == file:
        return
    _require_free(name, file)
    source.own[name] = file
    _loading.append(file.parent)
    try:
        register(_imported(name))
    except BaseException as error:
        del source.own[name]
        sys.modules.pop(name, None)
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise UserError(
            f"the extension {path} cannot be imported: {_place(error, file)}{_words(error)}"
        ) from error
    finally:
        _loading.pop()


_loading: list[Path] = []
"""Folders of the extensions that are being imported."""


def folder() -> Path:
    """The folder of the extension that is being imported now, where its own files are; else the working directory."""
    return _loading[-1] if _loading else Path()


def _imported(name: str) -> ModuleType:
    spec = source.spec_of(name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _file(path: str) -> Path:
    whole = Path(os.path.normpath(REPOSITORY / Path(path).expanduser()))
    file = whole / "__init__.py" if whole.is_dir() else whole
    if not is_file(file) or file.suffix != ".py":
        raise UserError(
            f"there is no extension {str(whole)!r}; it must be a .py file or a folder with an __init__.py"
        )
    return file


def _require_free(name: str, file: Path) -> None:
    """Raise UserError if a module of this name means something else."""
    if not name.isidentifier():
        raise UserError(f"the extension {file} must have a name that Python can import, such as my_things.py")
    known = None if name in sys.modules else find_spec(name)
    others = source.own.get(name), getattr(sys.modules.get(name), "__file__", None), known and known.origin
    taken = next((other for other in others if other and Path(other) != file), None)
    if taken or name in sys.stdlib_module_names:
        raise UserError(
            f"the extension {file} is named like the module {taken or name}; it needs another name"
        )


def _place(error: Exception, file: Path) -> str:
    """The line of the extension in which an import failed."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f"line {lines[-1]}: " if lines else ""


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def require_distinct() -> None:
    """Raise UserError if extensions have two things of one name, of which only the last would be used."""
    for variable in VARIABLES:
        known: dict[str, tuple[Path, object]] = {}
        for module, file in source.own.items():
            own_things(sys.modules[module], variable)  # raises UserError for what is neither dict nor list
            things = getattr(sys.modules[module], variable, ())
            pairs = things.items() if isinstance(things, dict) else ((name_of(one), one) for one in things)
            for name, thing in pairs:
                other, same = known.setdefault(name, (file, thing))
                if same is not thing:
                    places = f"{file} twice" if other == file else f"{other} and {file}"
                    raise UserError(f"{variable}: {name!r} is in {places}; one of both needs another name")


def place_of(error: BaseException) -> str | None:
    """Where in an extension something failed; None if no code of an extension was executed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(Path(frame.filename))]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


def _is_own(path: Path) -> bool:
    return any(
        path.is_relative_to(file.parent) if file.name == "__init__.py" else path == file
        for file in source.own.values()
    )


def recorded(path: str, folder: Path) -> str:
    """How a path in a file of that folder is written in the configuration of a run: relative to the repository."""
    return os.path.relpath(folder / Path(path).expanduser(), REPOSITORY)


def of(things: Things) -> list[str]:
    """The extensions that some of these things come from, as `load` takes them."""
    return sorted({_path(module) for module, _, _ in _own(things)})


def _own(things: Things) -> list[tuple[str, str, str]]:
    """Module, variable and name of those things that come from an extension."""
    return [
        (module, variable, name)
        for module in sorted(source.own)
        for variable, name in sorted(things.items())
        if module in sys.modules and name in own_things(sys.modules[module], variable)
    ]


def _path(module: str) -> str:
    file = source.own[module]
    return os.path.relpath(file.parent if file.name == "__init__.py" else file, REPOSITORY)


def roots(things: Things) -> list[str]:
    """Where the code of these things begins, of those from extensions, as `code_digest.digest` takes it."""
    return [f"{module}:{variable}[{name}]" for module, variable, name in _own(things)]
