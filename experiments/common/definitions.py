"""The part of a module on which one of its things depends, for things that share a module with others.

What counts are the top-level statements that define the thing, those that define a name which these mention, and so on.
Statements that define nothing, such as a call, may affect anything and always count.
"""

import ast
from collections.abc import Callable, Iterator

Tree = Callable[[str], tuple[ast.Module, str] | None]
"""Returns the syntax tree and the package of a module of one's own by its name; None for all other modules."""

Wanted = tuple[str, str, str | None]
"""Module, name of a variable, and the key if only one entry of the dictionary is wanted."""


def needed(tree_of: Tree, wanted: Wanted) -> tuple[list[str], set[str]]:
    """The code that a thing depends on, as text, and the names of all modules that this code imports.

    Args:
        tree_of: Finds the modules of one's own.
        wanted: The thing.
    """
    waiting, seen = [wanted], set[Wanted]()
    code, imported = set[str](), set[str]()
    while waiting:
        module, name, key = one = waiting.pop()
        found = tree_of(module)
        if found is None or one in seen:
            continue
        seen.add(one)
        for node in _parts(found[0], name, key):
            code.add(ast.dump(node))
            for other, its_name in _imports(node, found[1]):
                imported.add(other)
                waiting.append((other, its_name, key if its_name == name else None))
            waiting += [(module, mentioned, None) for mentioned in _mentioned(node)]
    return sorted(code), imported


def _parts(tree: ast.Module, name: str, key: str | None) -> Iterator[ast.AST]:
    """What defines a name: whole statements, or the entry of a dictionary."""
    for statement in tree.body:
        bound = _bound(statement)
        if name == "*" or not bound:
            yield statement
        elif name in bound:
            yield from [statement] if key is None else _entries(statement, key)


def _entries(statement: ast.stmt, key: str) -> list[ast.AST]:
    """The entry `key` of a dictionary or subscript that is written out, else the whole statement."""
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    value = getattr(statement, "value", None)
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return [statement.value] if target.slice.value == key else []
    if isinstance(value, ast.Dict) and all(isinstance(each, ast.Constant) for each in value.keys):
        pairs = zip(value.keys, value.values, strict=True)
        return [thing for name, thing in pairs if isinstance(name, ast.Constant) and name.value == key]
    return [statement]


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement defines or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    if isinstance(statement, ast.Assign):  # of a part: THINGS["name"] = ...
        roots = [node for target in statement.targets for node in ast.walk(target)]
        bound |= {node.id for node in roots if isinstance(node, ast.Name)}
    return bound


def _mentioned(node: ast.AST) -> set[str]:
    """Names inside a piece of code."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _imports(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Modules that a piece of code imports or names as "module:name", with a name from each; "*": the whole module."""
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            yield from ((alias.name, "*") for alias in one.names)
        elif isinstance(one, ast.ImportFrom):
            base = _absolute(one, package)
            for alias in one.names:
                yield base, alias.name
                yield f"{base}.{alias.name}", "*"
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.count(":") == 1:
            target, _, name = one.value.partition(":")
            yield target, name


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module that names are imported from."""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])])
