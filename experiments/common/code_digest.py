"""Which code a run depends on, and a digest of what that code means.

Neither comments, docstrings and layout change the digest, nor does moving a module: imports from the project count by
what the imported module says, not by where it stands.
"""

import ast
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from experiments.common import source
from experiments.common.paths import REPOSITORY
from experiments.common.source import PACKAGES

_used: set[Path] = set()
"""Files that digests were made of."""


@lru_cache
def digest(*modules: str, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over the code of the files that `files` finds, in an order that does not depend on their names."""
    code = {_code(module, without) for module in files(*modules, without=without)}
    return _sha256("\n".join(sorted(code)))


@lru_cache
def files(*modules: str, without: tuple[str, ...] = ()) -> dict[str, Path]:
    """Source files, by module, of the given modules and of all project modules that they import, directly or not.

    Args:
        modules: Where to start.
        without: Modules to leave out, with what only they import.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is not None and name not in found and name not in without:
            found[name] = path
            waiting.extend(_imports(name))
    return dict(sorted(found.items()))


def changed() -> bool:
    """Whether a file that a digest was made of means something else by now."""
    return any(not path.is_file() or _means(path.read_bytes()) != _means(source.read(path)) for path in _used)


def _means(text: bytes) -> str | None:
    try:
        return ast.dump(parsed(text))
    except SyntaxError:
        return None


@lru_cache
def _imports(module: str) -> tuple[str, ...]:
    """Project modules that a module imports when it runs, and the package that it is in."""
    names = [module.rpartition(".")[0]]
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]  # each may be a module
    return tuple(name for name in names if _path(name) is not None)


def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None
    return read(path)


def read(path: Path) -> ast.Module:
    """Syntax tree of a file on which a digest depends, as `parsed`; `changed` looks at the file from now on."""
    _used.add(path)
    return parsed(source.read(path))


def parsed(text: bytes) -> ast.Module:
    """Syntax tree of a module without docstrings and without what only type checkers read."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not (_is_text(part) or _is_for_types(part))]
    return tree


@lru_cache
def _code(module: str, without: tuple[str, ...]) -> str:
    """SHA-256 of a module's code, imported modules named by their own code."""
    return _sha256(_Code(module, lambda name: "left out" if name in without else _code_alone(name)).text())


@lru_cache
def _code_alone(module: str) -> str:
    """SHA-256 of a module's code, imported modules unnamed."""
    return _sha256(_Code(module, lambda _: "project").text())


class _Code(ast.NodeTransformer):
    """The code of a module as text.

    Args:
        module: Its name.
        name: What an imported project module is called.
    """

    def __init__(self, module: str, name: Callable[[str], str]) -> None:
        self._module, self._name = module, name
        self._imported: set[str] = set()
        self._bound: dict[str, str] = {}

    def text(self) -> str:
        """The imports from the project, sorted, and the rest as a syntax tree."""
        tree = self.visit(_tree(self._module))
        return "\n".join([*sorted(self._imported), ast.dump(tree)])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        """Take an import from the project out of the tree."""
        base = _base(node, self._module)
        if _path(base) is None:
            return node
        for alias in node.names:
            if _path(inner := f"{base}.{alias.name}") is None:
                self._imported.add(f"{self._name(base)} {alias.name} {alias.asname}")
            else:
                self._bound[alias.asname or alias.name] = self._name(inner)
        return None

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Call an imported module by its new name."""
        return ast.Name(self._bound.get(node.id, node.id), node.ctx)


def _base(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of the module that names are imported from."""
    path = _path(module)
    assert path is not None
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    above = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])])


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _path(module: str) -> Path | None:
    """File of a project module; None for everything else, also for a name inside a module."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    base = REPOSITORY.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
