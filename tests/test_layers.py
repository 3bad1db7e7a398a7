"""Packages stand on floors, and import only what stands below them."""

import ast
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"

FLOORS = (
    {"common"},
    {"data", "models", "optimizers", "figures"},
    {"problems"},
    {"training"},
    {"studies"},
    {"runs"},
    {"results"},
    {"planning", "reports", "pipeline"},
    {"cli"},
    {"__main__"},
)


def package(module):
    return [*module.split("."), "__init__"][1]


def imports(path, types=True):
    """Project modules that a file imports, also those that a function imports when it is called."""
    skipped = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            skipped.update(map(id, ast.walk(node)))
        if (
            isinstance(node, ast.ImportFrom)
            and str(node.module).startswith("experiments")
            and id(node) not in skipped
        ):
            yield from (resolved(f"{node.module}.{alias.name}") for alias in node.names)


def resolved(name):
    """The module of that name, or else the one that holds what the name is of."""
    path = EXPERIMENTS.parent.joinpath(*name.split("."))
    return name if path.is_dir() or path.with_suffix(".py").is_file() else name.rpartition(".")[0]


MODULES = {
    ".".join(path.relative_to(EXPERIMENTS.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(EXPERIMENTS.rglob("*.py"))
}


def test_every_package_has_a_floor():
    assert {package(name) for name in MODULES} - {"__init__"} == set().union(*FLOORS)


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=lambda floor: "+".join(sorted(FLOORS[floor])))
def test_no_package_imports_what_stands_above_or_beside_it(floor):
    below = {"__init__"}.union(*FLOORS[:floor])
    for name, path in MODULES.items():
        if package(name) in FLOORS[floor]:
            for imported in imports(path, types=False):
                assert package(imported) in below | {package(name)}, f"{name} imports {imported}"


def test_the_longest_chain_of_imports_is_short():
    known = {}

    def chain(name):
        if name not in known:
            further = {one for one in imports(MODULES[name], types=False) if one in MODULES and one != name}
            known[name] = (*max((chain(one) for one in further), key=len, default=()), name)
        return known[name]

    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= 15, " <- ".join(longest)


def test_the_listing_is_short():
    listed = [path for path in EXPERIMENTS.iterdir() if path.name != "__pycache__"]
    assert len(listed) <= 16
