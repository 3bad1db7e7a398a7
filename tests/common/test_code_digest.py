"""Which code a run depends on: everything it imports, and nothing that does not run."""

import os
import py_compile
import subprocess
import sys
from textwrap import dedent

import pytest
from copies import forget_code, repository_copy

from experiments.common import code_digest, definitions

FILES = {
    "project/__init__.py": '"""A package."""',
    "project/study.py": """
        import os
        from project import helper
        from project.deep.inner import value

        def run(x):
            return helper.double(x) + value
        """,
    "project/helper.py": """
        from .deep import other

        def double(x):
            return 2 * x
        """,
    "project/deep/__init__.py": "",
    "project/deep/inner.py": "value = 1",
    "project/deep/other.py": "from ..register import NAMES",
    "project/register.py": "from project import only_there\nNAMES = ['a']",
    "project/only_there.py": "",
    "project/unrelated.py": "value = 2",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project in place of this one; gives a function that changes a file and returns the digest."""
    monkeypatch.setattr(definitions, "REPOSITORY", tmp_path)
    monkeypatch.setattr(definitions, "PACKAGES", ("project",))
    forget_code()
    for name in FILES:
        write(tmp_path, name, FILES[name])

    def change(name=None, text="", without=(), start="project.study"):
        if name is not None:
            write(tmp_path, name, text)
        forget_code()
        return code_digest.digest(start, without=without)

    yield change
    forget_code()


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))


def test_everything_that_is_imported_directly_or_not_is_found(project, tmp_path):
    found = [str(path.relative_to(tmp_path)) for path in code_digest.files("project.study").values()]
    assert sorted(found) == sorted(set(FILES) - {"project/unrelated.py"})


def test_comments_docstrings_and_layout_do_not_count(project):
    before = project()
    after = project(
        "project/helper.py",
        '''
        """Says more now."""

        from .deep import other  # why


        def double(
            x,
        ):
            """Twice."""
            return (2 * x)
        ''',
    )
    assert after == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("project/helper.py", "def double(x):\n    return 2.02 * x"),
        ("project/deep/inner.py", "value = 1.0"),
        ("project/deep/inner.py", "value = 1\nvalue += 1"),
        ("project/deep/inner.py", "value = 1\nif value:\n    value = 2"),
        ("project/deep/other.py", "from ..register import NAMES\nNAMES.append('effect of the import')"),
        ("project/deep/__init__.py", "import os\nos.umask(0)"),
        ("project/__init__.py", "print('text that is no docstring')"),
    ],
)
def test_code_counts_wherever_it_is(project, name, text):
    assert project(name, text) != project(name, FILES[name])


@pytest.mark.parametrize("name", ["project/study.py", "project/helper.py", "project/deep/inner.py"])
@pytest.mark.parametrize(
    "text",
    [
        "def beside(x):\n    return x",
        "class Beside:\n    half = 0.5",
        "OTHERS = {'one': 1}",
        "import math",
        "from project.unrelated import value as unused",
    ],
)
def test_what_is_added_beside_does_not_count(project, name, text):
    before = project()
    assert project(name, f"{dedent(FILES[name])}\n{text}\n", start="project.study:run") == before


FAR = {
    "a name in a module": ("from project import table", "table.one(x)"),
    "a name": ("from project.table import one", "one(x)"),
    "another name for it": ("from project.table import one as first", "first(x)"),
    "a name in a package": ("import project", "project.table.one(x)"),
    "a re-exported name": ("from project.deep import one", "one(x)"),
    "the module itself": ("from project import table", "vars(table)['one'](x)"),
    "an import inside": ("", "__import__; from project.table import one; return one(x)"),
    "everything": ("from project.table import *", "one(x)"),
}


@pytest.mark.parametrize("how", FAR)
def test_what_is_used_counts_however_it_is_imported(project, tmp_path, how):
    first, call = FAR[how]
    write(tmp_path, "project/deep/__init__.py", "from project.table import one")
    body = "\n    ".join(call.split("; ")) if "return" in call else f"return {call}"
    write(tmp_path, "project/study.py", f"{first}\ndef run(x):\n    {body}\n")
    table = "from project.deep.inner import value\ndef one(x):\n    return x + value\n"
    before = project("project/table.py", table, start="project.study:run")
    assert project("project/deep/inner.py", "value = 2", start="project.study:run") != before


def test_of_a_dictionary_that_is_written_out_one_entry_can_count(project):
    table = "def one(x):\n    return x\nTABLE = {'one': one, 'two': 2}\n"
    one = "project.table:TABLE[one]"
    before = project("project/table.py", table, start=one)
    other = table.replace("'two': 2", "'two': 3, 'three': 3")
    assert project("project/table.py", other, start=one) == before
    assert project("project/table.py", table.replace("return x", "return -x"), start=one) != before
    assert project("project/table.py", table.replace("'one': one", "'one': len"), start=one) != before


def test_packages_of_others_are_those_that_are_used(project):
    text = "import numpy as np\nimport scipy.special\nfrom torch import nn\n"
    text += "def run(x):\n    return nn.ReLU(np.abs(x))\n"
    project("project/study.py", text + "def other(x):\n    return scipy.special.expit(x)")
    assert code_digest.packages("project.study:run") == {"numpy", "torch"}
    assert code_digest.packages("project.study") == {"numpy", "torch", "scipy"}


def test_code_that_is_not_imported_does_not_count(project):
    assert project("project/unrelated.py", "value = 3") == project()


def test_a_module_left_out_does_not_count_nor_what_only_it_imports(project, tmp_path):
    without = ("project.register",)
    before = project(without=without)
    assert project("project/register.py", "NAMES = ['a', 'b']", without=without) == before
    assert project("project/only_there.py", "x = 1", without=without) == before
    assert project("project/helper.py", "x = 1", without=without) != before


def test_what_only_type_checkers_import_does_not_count(project):
    study = FILES["project/study.py"]
    typed = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from project.unrelated import value as other\n"
    before = project("project/study.py", typed + dedent(study))
    assert project("project/unrelated.py", "value = 4") == before


MOVES = {
    "project/helper.py": ("project/sums/doubling.py", "from project.deep import other"),
    "project/deep/inner.py": ("project/constant.py", ""),
}


def test_moving_and_renaming_modules_does_not_count(project, tmp_path):
    """Imports say where a module stands now and are in another order; code says the same."""
    before = project()
    for old, (new, imports) in MOVES.items():
        text = dedent(FILES[old]).replace("from .deep import other", imports)
        (tmp_path / old).unlink()
        write(tmp_path, new, text)
    write(tmp_path, "project/sums/__init__.py", "")
    study = dedent(FILES["project/study.py"]).replace("helper.double", "doubling.double")
    study = study.replace("from project import helper\n", "")
    study = study.replace("from project.deep.inner import value", "from project.constant import value")
    study = study.replace("import os\n", "import os\nfrom project.sums import doubling\n")
    assert project("project/study.py", study) == before
    assert project("project/sums/doubling.py", "def double(x):\n    return 2.02 * x") != before


def test_the_same_name_from_another_module_counts(project, tmp_path):
    write(tmp_path, "project/deep/same.py", "value = 2")
    study = dedent(FILES["project/study.py"]) + "\nfrom project.deep import same"
    before = project("project/study.py", study)
    assert project("project/study.py", study.replace("deep.inner import", "deep.same import")) != before


def test_a_change_under_way_is_noticed(project, tmp_path):
    project()
    assert not code_digest.changed()
    write(tmp_path, "project/helper.py", "def double(x):\n    return x + x")
    assert code_digest.changed()


@pytest.mark.parametrize(("first", "mark"), [("import experiments", "2"), ("", "1")])
def test_old_bytecode_never_runs_under_the_key_of_new_code(tmp_path, first, mark):
    root = repository_copy(tmp_path)
    file = root / "pal" / "parabola.py"
    text = file.read_text()
    for number in "12":
        file.write_text(f"{text}MARK = {number}\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        if number == "1":
            py_compile.compile(str(file))
    command = [sys.executable, "-c", f"{first}\nfrom pal.parabola import MARK\nprint(MARK)"]
    environment = dict(os.environ, PYTHONPATH=str(root))
    assert subprocess.check_output(command, cwd=root, env=environment, text=True).strip() == mark


def test_a_comment_is_no_change(project, tmp_path):
    project()
    write(tmp_path, "project/helper.py", dedent(FILES["project/helper.py"]) + "# more to say")
    assert not code_digest.changed()
    write(tmp_path, "project/helper.py", "def double(x:")
    assert code_digest.changed()
