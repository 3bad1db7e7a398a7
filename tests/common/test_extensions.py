"""Extensions: found, imported once, added to the registries, and in the key of the runs that use them only."""

import sys
from contextlib import nullcontext
from textwrap import dedent

import pytest
from copies import forget_code
from matplotlib.figure import Figure

from experiments.cli import main as cli
from experiments.common import code_digest, extensions, profiles, source
from experiments.common import registry as registries
from experiments.common.errors import UserError
from experiments.common.registry import Registry, instance_of, own_things
from experiments.figures.registry import FIGURES, Drawing
from experiments.reports.catalogue import figures_of
from experiments.results.claims.registry import OWN, all_claims

THINGS = """
'''Things.'''
from math import pi

HALF = 0.5


def helper(x):
    return HALF * x


def one(x):
    '''The first.'''
    return helper(x)


def two(x):
    return pi * x


NUMBERS = {"one": one, "two": two}
NUMBERS["three"] = lambda x: two(x) + 1
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Writes an extension and loads it as a process would that knows nothing of it; gives its path."""
    names = []
    monkeypatch.setattr(registries, "_registries", list(registries._registries))
    monkeypatch.setattr(registries, "_modules", list(registries._modules))

    def forget():
        for name in [one for one in sys.modules if one.partition(".")[0] in source.own]:
            del sys.modules[name]
        for name in names:
            source.own.pop(name, None)
        forget_code()

    def load(text=THINGS, name="own_things.py", **files):
        forget()
        for place, content in ({name: text} | files).items():
            path = tmp_path / place
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(dedent(content))
        whole = tmp_path / name
        whole = whole.parent if whole.name == "__init__.py" else whole
        names.append(whole.stem)
        extensions.load([str(whole)])
        return str(whole)

    yield load
    forget()


def digest(name):
    (found,) = map(code_digest.digest, extensions.roots({"NUMBERS": name}))
    return found


def test_registries_that_are_there_and_later_ones_get_its_things(load):
    early = Registry("number", {"zero": 0}, "NUMBERS")
    load()
    late = Registry("number", {}, "NUMBERS")
    assert list(early) == ["zero", "one", "two", "three"]
    assert list(late) == ["one", "two", "three"]
    assert early["three"](0) == 1
    with pytest.raises(UserError, match=r"there is no number 'tow'; did you mean 'two'"):
        early["tow"]


def test_a_list_is_taken_by_name_or_id(load):
    class Named:
        name = "first"

    class Identified:
        id = "second"

    load("THINGS = []")
    module = sys.modules["own_things"]
    module.THINGS = [Named(), Identified()]
    assert list(own_things(module, "THINGS")) == ["first", "second"]


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("HALF = 0.5", "HALF = 0.25", {"one"}),
        ("The first", "The very first", set()),
        ("pi * x", "2 * pi * x", {"two", "three"}),
        ('NUMBERS["three"]', "def unused(): ...\nNUMBERS['three']", set()),
        ("two(x) + 1", "two(x) + 2", {"three"}),
        ('{"one": one, "two": two}', '{"two": two, "four": one, "one": one}', set()),
        (
            "from math import pi",
            "import warnings\nwarnings.simplefilter('ignore')\nfrom math import pi",
            {"one", "two", "three"},
        ),
    ],
)
def test_a_thing_depends_on_what_defines_it_and_on_nothing_else(load, before, after, changed):
    load()
    first = {name: digest(name) for name in ("one", "two", "three")}
    load(THINGS.replace(before, after))
    assert {name for name, known in first.items() if digest(name) != known} == changed


def test_a_folder_may_have_several_modules_of_which_each_counts_for_what_uses_it(load):
    files = {
        "things/__init__.py": "from .first import NUMBERS\nfrom . import second\nNUMBERS['b'] = second.b",
        "things/first.py": "a = 1\nNUMBERS = {'a': a}",
        "things/second.py": "b = 2",
    }
    load(files["things/__init__.py"], "things/__init__.py", **files)
    first = digest("a"), digest("b")
    files["things/second.py"] = "b = 3"
    load(files["things/__init__.py"], "things/__init__.py", **files)
    assert digest("a") == first[0]
    assert digest("b") != first[1]


def test_a_thing_depends_on_modules_of_the_project_that_it_imports(load):
    text = "from experiments.common import {0}\nNUMBERS = {{'one': {0}.__name__}}"
    load(text.format("errors"))
    first = digest("one")
    load(text.format("git"))
    assert digest("one") != first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "NUMBERS = {'zero': 1}",
            "NUMBERS has 'zero', which is a number of the package; it needs another name",
        ),
        ("NUMBERS = {'one': 'x'}", "NUMBERS: 'one' is 'x'; it must be a int"),
        ("NUMBERS = 3", "NUMBERS is 3; it must be a dictionary or a list"),
        ("a = 1\nb = c", "cannot be imported: line 2: NameError: name 'c' is not defined"),
        ("a = 1\nb = (", "cannot be imported: line 2: SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    ],
)
def test_what_is_wrong_is_one_sentence(load, text, words):
    Registry("number", {"zero": 0}, "NUMBERS", instance_of(int))
    with pytest.raises(UserError) as caught:
        load(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["json.py", "numpy.py", "my-things.py"])
def test_a_name_that_means_something_else_is_refused(load, name):
    with pytest.raises(UserError, match="needs another name|must have a name that Python can import"):
        load("", name)


def test_a_missing_extension_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no extension '.*gone.py'"):
        extensions.load([str(tmp_path / "gone.py")])


@pytest.mark.parametrize(
    "text", ["import sys\nsys.exit()", "import argparse\nargparse.ArgumentParser().parse_args(['x'])"]
)
def test_an_extension_that_ends_python_is_named(load, tmp_path, monkeypatch, text):
    load("")
    (tmp_path / "program.py").write_text(text)
    (tmp_path / "mine.yaml").write_text("extensions: [program.py]")
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"program\.py ends Python when it is imported"):
        profiles.load_extensions("mine")


ONE = "def one(shape, outputs): ...\nNETWORKS = {'one': one}"
TWICE = """\
from experiments.problems import Problem
PROBLEMS = [Problem("one", "digits", "mlp-8", "mine", steps) for steps in (1, 2)]
"""


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (ONE, ONE, r"NETWORKS: 'one' is in .*own_things\.py and .*others\.py"),
        ("", TWICE, r"PROBLEMS: 'one' is in .*others\.py twice"),
        (ONE, "import own_things\nNETWORKS = own_things.NETWORKS", None),
        (ONE, ONE.replace("'one'", "'two'"), None),
    ],
)
def test_two_things_of_one_name_are_refused_since_only_one_would_be_used(
    load, tmp_path, first, second, words
):
    load(first)
    (tmp_path / "others.py").write_text(second)
    extensions.load([str(tmp_path / "others.py")])
    try:
        with pytest.raises(UserError, match=words) if words else nullcontext():
            extensions.require_distinct()
    finally:
        del source.own["others"], sys.modules["others"]


def test_the_names_of_the_packages_claims_and_figures_are_taken(monkeypatch):
    monkeypatch.setitem(OWN, "cost", None)
    with pytest.raises(UserError, match="'cost' is a claim of the package; it needs another id"):
        all_claims()
    monkeypatch.setitem(FIGURES, "sensitivity", Drawing(lambda _: Figure(), "benchmark"))
    with pytest.raises(UserError, match="'sensitivity' is a figure of benchmark in the package"):
        figures_of("benchmark")
    assert "sensitivity" not in figures_of("lines")


def test_a_fault_in_a_thing_is_one_sentence_with_its_place(load, tmp_path, monkeypatch, capsys):
    load("def wrong():\n    return {}['x']")

    def fails(*_):
        sys.modules["own_things"].wrong()

    monkeypatch.setattr(cli, "translated", fails)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'own_things.py'}, line 2: KeyError: 'x'\n"
    monkeypatch.setattr(cli, "translated", lambda _: {}["x"])
    with pytest.raises(KeyError):
        cli.main([])
