"""The definitions in the modules of the project, and what each of them refers to.

A definition is a statement at the top of a module that binds a name: a function, a class, an assignment. All other
statements, such as calls, are effects of importing the module. References are followed by name, through imports within
the project; a module that is used in any other way than `module.name` counts as a whole.
"""

import ast
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from experiments.common import source
from experiments.common.paths import REPOSITORY
from experiments.common.source import PACKAGES

EFFECTS = "<effects>"
"""Stands for the name of a module's statements that bind none."""

SIMPLE = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.AugAssign
"""Statements that do nothing but bind names."""

read_files: set[Path] = set()
"""Files of the modules that were looked at."""


class Reference(NamedTuple):
    """A definition in a module of the project; the whole module with name None."""

    module: str
    name: str | None


@dataclass(frozen=True)
class Definitions:
    """What stands at the top of a module.

    Attributes:
        defined: Statements by the names that they bind.
        imported: What imports from the project bind.
        external: What other imports bind, such as {"np": "numpy"}.
    """

    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, Reference] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Meaning:
    """What a definition says.

    Attributes:
        text: Its code, in which names from elsewhere do not say where they come from.
        references: The definitions of the project that it uses.
        packages: The packages of others that it uses, such as "torch".
    """

    text: str
    references: frozenset[Reference]
    packages: frozenset[str]


def path_of(module: str) -> Path | None:
    """File of a module of the project or of an extension; None for everything else, also for a name inside one."""
    top, _, rest = module.partition(".")
    if top in PACKAGES:
        base = REPOSITORY.joinpath(*module.split("."))
    elif top not in source.own:
        return None
    elif not rest:
        return source.own[top]
    else:
        base = source.own[top].parent.joinpath(*rest.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def tree(module: str) -> ast.Module:
    """Syntax tree of a project module without docstrings and without what only type checkers read."""
    path = path_of(module)
    assert path is not None
    read_files.add(path)
    return parsed(source.read(path))


def parsed(text: bytes) -> ast.Module:
    """The same for the text of a module."""
    whole = ast.parse(text)
    for node in ast.walk(whole):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not (_is_text(part) or _is_for_types(part))]
    return whole


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@cache
def definitions(module: str) -> Definitions:
    """Take a project module apart."""
    found = Definitions()
    for node in tree(module).body:
        _add_imports(found, module, [node] if isinstance(node, SIMPLE) else ast.walk(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = {*_bound(node)} if isinstance(node, SIMPLE) else {*_bound(node), EFFECTS}
        for name in names or {EFFECTS}:
            found.defined.setdefault(name, []).append(node)
    return found


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement binds in its module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Assign):  # of an entry: TABLE["key"] = ...
        yield from (name for target in node.targets if (name := _table(target)) is not None)
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            yield part.name


def _table(target: ast.AST) -> str | None:
    """The name of a dictionary of which an assignment sets an entry."""
    table = target.value if isinstance(target, ast.Subscript) else None
    return table.id if isinstance(table, ast.Name) else None


def _add_imports(found: Definitions, module: str, nodes: Iterable[ast.AST]) -> None:
    """Add what import statements among some nodes bind."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                target = alias.name if alias.asname else bound
                if path_of(target):
                    found.imported[bound] = Reference(target, None)
                else:
                    found.external[bound] = target
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, module)
            for alias in node.names:
                if path_of(base):
                    name = None if alias.name == "*" else alias.name
                    found.imported[alias.asname or alias.name] = Reference(base, name)
                else:
                    found.external[alias.asname or alias.name] = f"{base}.{alias.name}"


def base_of(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of the module that names are imported from."""
    path = path_of(module)
    assert path is not None
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    above = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])])


def resolve(found: Reference) -> Reference | str:
    """The definition that a reference leads to through imports, or the dotted name of something external."""
    if found.name is None:
        return found
    known = definitions(found.module)
    if found.name in known.defined or _entry(found):
        return found
    if found.name in known.imported and known.imported[found.name] != found:
        return resolve(known.imported[found.name])
    if path_of(f"{found.module}.{found.name}"):
        return Reference(f"{found.module}.{found.name}", None)
    return known.external.get(found.name, Reference(found.module, None))


def statements(found: Reference) -> list[ast.AST]:
    """The statements of a definition."""
    entry = _entry(found)
    if entry is not None:
        return [entry]
    return [*definitions(found.module).defined.get(str(found.name), [])]


def _entry(found: Reference) -> ast.AST | None:
    """The value of one key of a dictionary that is written out, for a name such as `TABLE[key]`."""
    name, bracket, key = str(found.name).partition("[")
    for statement in definitions(found.module).defined.get(name, []) if bracket else []:
        if isinstance(statement, ast.Assign) and _sets(statement.targets[0], key.removesuffix("]")):
            return statement.value
        for node in ast.walk(statement):
            if isinstance(node, ast.Dict):
                for each, value in zip(node.keys, node.values, strict=True):
                    if isinstance(each, ast.Constant) and each.value == key.removesuffix("]"):
                        return value
    return None


def _sets(target: ast.expr, key: str) -> bool:
    """Whether this is `TABLE[key]`."""
    part = target.slice if isinstance(target, ast.Subscript) else None
    return isinstance(part, ast.Constant) and part.value == key


@cache
def meaning(found: Reference) -> Meaning:
    """What a definition says and uses."""
    reader = _Reader(found.module)
    dumps = [reader.read(statement) for statement in statements(found)]
    return Meaning("\n".join(dumps), frozenset(reader.references), frozenset(reader.packages))


class _Whole(ast.Name):
    """An expression that stands for a module of the project."""


class _Reader(ast.NodeTransformer):
    """Dumps statements of a module, and notes what they refer to."""

    def __init__(self, module: str) -> None:
        self._module, self._known = module, definitions(module)
        self.references: set[Reference] = set()
        self.packages: set[str] = set()

    def read(self, statement: ast.AST) -> str:
        """One statement as text."""
        here = Definitions({}, dict(self._known.imported), dict(self._known.external))
        _add_imports(here, self._module, ast.walk(statement))  # imports inside functions
        self._here = here
        changed: Any = self.visit(copy.deepcopy(statement))
        self.references |= {here.imported[name] for name in here.imported if name == "*"}
        for node in ast.walk(changed):
            if isinstance(node, _Whole):
                self.references.add(Reference(node.id, None))
                node.id = "project module"
        return ast.dump(changed)

    def visit_Import(self, node: ast.Import) -> None:
        """Leave it out: names say what they stand for where they are used."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Leave it out as well."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """A definition that a string names as "module:name", to be imported later."""
        module, colon, name = node.value.partition(":") if isinstance(node.value, str) else ("", "", "")
        if colon and name.isidentifier() and path_of(module):
            self.references.add(Reference(module, name))
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Note what a name stands for."""
        if not isinstance(node.ctx, ast.Load):  # it binds the name, here or in a class or function
            return node
        if node.id in self._here.imported:
            return self._to(resolve(self._here.imported[node.id]), node.ctx)
        if node.id in self._here.external:
            return self._to(self._here.external[node.id], node.ctx)
        if node.id in self._known.defined:
            return self._to(Reference(self._module, node.id), node.ctx)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """A name in a module of the project."""
        value = self.visit(node.value)
        if isinstance(value, _Whole):
            return self._to(resolve(Reference(value.id, node.attr)), node.ctx)
        return ast.Attribute(value, node.attr, node.ctx)

    def _to(self, target: Reference | str, ctx: ast.expr_context) -> ast.expr:
        if isinstance(target, str):
            self.packages.add(target.partition(".")[0])
            return ast.Name(f"external {target}", ctx)
        if target.name is None:
            return _Whole(target.module, ctx)
        self.references.add(target)
        return ast.Name(f"project {target.name}", ctx)
