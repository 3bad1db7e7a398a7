"""Which code a run depends on, and a digest of it that comments and docstrings do not change."""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGES = ("pal", "experiments")
REPOSITORY = Path(__file__).resolve().parents[1]


@lru_cache
def digest(*modules: str, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over the code of the files that `files` finds."""
    total = hashlib.sha256()
    for path in files(*modules, without=without):
        total.update(f"{path.relative_to(REPOSITORY)}\n{code(path)}\n".encode())
    return total.hexdigest()


@lru_cache
def files(*modules: str, without: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Source files of the modules and of all project modules that they import, directly or not, in order.

    Args:
        modules: Where to start.
        without: Modules to leave out, with what only they import.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is not None and path not in found and name not in without:
            found.add(path)
            waiting.extend(_imports(path, name))
    return tuple(sorted(found))


@lru_cache
def code(path: Path) -> str:
    """What a file means to Python: its syntax tree without docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names that a file imports; for `from a import b` both a and a.b, since b may be a module."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    if "." in module:
        yield module.rpartition(".")[0]


def _path(module: str) -> Path | None:
    """File of a project module; None for everything else, also for a name inside a module."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    base = REPOSITORY.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)
