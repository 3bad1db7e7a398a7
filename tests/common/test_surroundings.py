"""Whatever a person's account has set up, the same comes out."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from experiments.common.paths import REPOSITORY
from experiments.common.surroundings import CACHE

LOOK = """
from experiments.common import surroundings
surroundings.settle()
import getpass, json, locale, os, site, sys
import matplotlib, IPython.paths, jupyter_core.paths
print(json.dumps({
    "encoding": open(os.devnull).encoding, "output": sys.stdout.encoding, "words": sys.argv[1:],
    "user": getpass.getuser(), "user packages": site.ENABLE_USER_SITE, "dpi": matplotlib.rcParams["figure.dpi"],
    "folders": [matplotlib.get_configdir(), IPython.paths.get_ipython_dir(), jupyter_core.paths.jupyter_data_dir()],
    "first": jupyter_core.paths.jupyter_path()[0],
    "home": os.environ["HOME"], "runs": os.environ.get("PAL_RUNS"),
}))
"""


def seen(*options, **variables):
    """What Python finds with these options and variables."""
    command = [sys.executable, *options, "-c", LOOK, "\N{GREEK SMALL LETTER MU}=1"]
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY)) | variables
    return json.loads(subprocess.check_output(command, env=environment, cwd="/", timeout=60))


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ((), {"HOME": "/proc/1/nowhere", "MPLBACKEND": "none", "JUPYTER_PATH": "/elsewhere"}),
        (
            (),
            {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin1"},
        ),
        (("-X", "utf8=0"), {"LC_ALL": "de_DE.ISO-8859-1"}),
    ],
)
def test_text_is_utf8_and_settings_are_ours(options, variables, tmp_path):
    (tmp_path / "matplotlibrc").write_text("figure.dpi: 7")
    found = seen(*options, **{"MATPLOTLIBRC": str(tmp_path)} | variables)
    assert found["encoding"].lower() == found["output"].lower() == "utf-8"
    assert found["words"] == ["\N{GREEK SMALL LETTER MU}=1"]
    assert not found["user packages"]
    assert found["dpi"] == 100
    assert all(folder.startswith(str(CACHE)) for folder in found["folders"])
    assert found["first"].startswith(sys.prefix)


def test_an_empty_home_is_none_and_folders_are_those_of_the_working_directory():
    found = seen(HOME="", PAL_RUNS="mine/runs")
    assert found["home"] == str(CACHE)
    assert found["runs"] == "/mine/runs"


NAMELESS = """
import getpass, os, pwd
from experiments.common import surroundings
os.setuid(54321)
surroundings.settle()
print(getpass.getuser())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_without_a_name_has_one():
    named = ("LOGNAME", "USER", "LNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    command = [sys.executable, "-c", NAMELESS]
    environment["PYTHONPATH"] = str(REPOSITORY)
    assert subprocess.check_output(command, env=environment, text=True) == "user-54321\n"


SHADOWED = """
from experiments.common import surroundings
surroundings.settle()
import click, mine
print(click.__file__, mine.__file__)
"""


def test_what_lies_in_pythonpath_is_found_but_stands_in_for_no_installed_package(tmp_path):
    for name in ("click", "mine"):
        (tmp_path / f"{name}.py").touch()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    words = subprocess.check_output([sys.executable, "-c", SHADOWED], env=environment, text=True).split()
    assert words[0].startswith(sys.prefix)
    assert words[1] == str(tmp_path / "mine.py")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_environment_of_somebody_else_whose_python_is_not_there_is_named():
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        shutil.copy(REPOSITORY / "Makefile", place)
        (Path(place) / ".venv" / "bin").mkdir(parents=True)
        (Path(place) / ".venv" / "bin" / "python").symlink_to("/nowhere")
        (Path(place) / ".venv" / ".ready").touch()
        done = subprocess.run(["make", "help"], cwd=place, user=54321, capture_output=True, text=True)
    assert done.returncode == 2
    assert "the Python of .venv does not exist for this user" in done.stderr


def test_what_editors_keep_beside_a_file_is_no_code_to_dvc():
    left = ["pal/.#pal.py", "pal/pal.py~", "pal/#pal.py#", "pal/.pal.py.swp", "results/.~lock.claims.csv#"]
    command = [sys.executable, "-m", "dvc", "check-ignore", *left, "pal/pal.py"]
    assert subprocess.check_output(command, cwd=REPOSITORY, text=True).splitlines() == left
