"""Which code a run depends on, and a digest of what that code means.

Only definitions count that can be reached from where a run starts: a function that is added beside them changes
nothing. Neither do comments, docstrings and layout, nor moving a definition or a module: names from elsewhere count by
what they stand for, not by where that stands.
"""

import ast
import hashlib
from functools import cache, lru_cache
from pathlib import Path

from experiments.common import source
from experiments.common.definitions import (
    EFFECTS,
    Reference,
    base_of,
    definitions,
    meaning,
    parsed,
    path_of,
    read_files,
    resolve,
    tree,
)


@lru_cache
def digest(*roots: str, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over the definitions that `reached` finds, in an order that does not depend on their names."""
    return _sha256("\n".join(sorted({_code(each, without) for each in reached(*roots, without=without)})))


def packages(*roots: str, without: tuple[str, ...] = ()) -> set[str]:
    """Packages outside of the project that these definitions use, such as "torch"."""
    return {name for each in reached(*roots, without=without) for name in meaning(each).packages}


@lru_cache
def reached(*roots: str, without: tuple[str, ...] = ()) -> frozenset[Reference]:
    """The definitions that roots use, directly or not, and what importing their modules does.

    Args:
        roots: "module", "module:name", or "module:name[key]" for one entry of a dictionary that is written out.
        without: Modules, and definitions as "module:name", to leave out with what only they use.
    """
    found: set[Reference] = set()
    waiting = [each for root in roots for each in _root(root)]
    while waiting:
        target = resolve(waiting.pop())
        if isinstance(target, str) or _is_left_out(target, without) or target in found:
            continue
        if target.name is None:
            waiting.extend(Reference(target.module, name) for name in definitions(target.module).defined)
        else:
            waiting.extend(_effects(target.module, without))
            waiting.extend(meaning(target).references)
        found.add(target)
    return frozenset(each for each in found if each.name is not None)


@lru_cache
def _effects(module: str, without: tuple[str, ...]) -> list[Reference]:
    """What importing a module does, besides binding names.

    An extension is the home of many things, so that what it imports counts only for those that use it.
    """
    own = module.partition(".")[0] in source.own
    modules = [module] if own else files(module, without=without)
    return [Reference(each, EFFECTS) for each in modules if EFFECTS in definitions(each).defined]


def _root(text: str) -> list[Reference]:
    module, _, name = text.partition(":")
    if path_of(module) is None:
        return []
    name, bracket, key = name.partition("[")
    table = Reference(module, name or None)
    entry = _entry(table, key.removesuffix("]")) if bracket else None
    return [entry or table]  # the whole of it if it is not written out


def _entry(table: Reference, key: str) -> Reference | None:
    """The entry of a dictionary, in its module or in the one that it is imported from."""
    entry = Reference(table.module, f"{table.name}[{key}]")
    if resolve(entry) == entry:
        return entry
    origin = definitions(table.module).imported.get(str(table.name))
    return None if origin is None or origin.name is None else _entry(origin, key)


def _is_left_out(target: Reference, without: tuple[str, ...]) -> bool:
    return target.module in without or f"{target.module}:{target.name}" in without


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
        path = path_of(name)
        if path is not None and name not in found and name not in without:
            found[name] = path
            waiting.extend(_imports(name))
    return dict(sorted(found.items()))


def changed() -> bool:
    """Whether a file that a digest was made of means something else by now."""
    return any(not path.is_file() or _differ(path.read_bytes(), source.read(path)) for path in read_files)


def _differ(text: bytes, other: bytes) -> bool:
    return text != other and _means(text) != _means(other)


def _means(text: bytes) -> str | None:
    try:
        return ast.dump(parsed(text))
    except SyntaxError:
        return None


@lru_cache
def _imports(module: str) -> tuple[str, ...]:
    """Project modules that a module imports when it runs, and the package that it is in."""
    names = [module.rpartition(".")[0]]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, module)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]  # each may be a module
    return tuple(name for name in names if path_of(name) is not None)


@cache
def _code(found: Reference, without: tuple[str, ...]) -> str:
    """SHA-256 of a definition, with what its references say each for itself: names alone may mean several things."""
    said = meaning(found)
    others = {
        f"{each.name} {'left out' if _is_left_out(each, without) else _alone(each)}"
        for each in said.references
    }
    return _sha256("\n".join([said.text, *sorted(others)]))


@cache
def _alone(found: Reference) -> str:
    if found.name is not None:
        return _sha256(meaning(found).text)
    names = definitions(found.module).defined
    return _sha256("\n".join(sorted(meaning(Reference(found.module, name)).text for name in names)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
