"""Whatever a person's account has set up, the same comes out."""

import json
import os
import subprocess
import sys

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
