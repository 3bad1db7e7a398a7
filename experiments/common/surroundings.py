"""Settings of the user's account and machine that must not influence the results."""

import getpass
import locale
import os
import site
import sys
from pathlib import Path

from experiments.common import instruction_set
from experiments.common.instruction_set import Choice
from experiments.common.paths import REPOSITORY

CACHE = REPOSITORY / ".cache"
"""Used by libraries instead of folders in the home directory, which may be full, read-only, missing or configured."""

FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter",
}
FIXED = {"MPLBACKEND": "agg", "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"}
PLACES = ("PAL_RUNS", "PAL_DATA", "PAL_DATA_MIRROR")
"""Folders, which may be relative to the working directory."""

UNSET = ("JUPYTER_PATH", "MATPLOTLIBRC", "PYTHONIOENCODING", "PYTHONWARNINGS")


def settle(choice: Choice = "portable") -> None:
    """Set the variables that libraries read; restart Python if it has already read others itself.

    Args:
        choice: The instruction set of this process.
    """
    instruction_set.fix(choice)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads give up their core
    os.environ.update(FIXED | {name: str(CACHE / folder) for name, folder in FOLDERS.items()})
    strict = "PYTHONWARNINGS" in os.environ
    for name in UNSET:
        os.environ.pop(name, None)
    for name in PLACES:
        if os.environ.get(name):  # workers and DVC have other working directories
            os.environ[name] = str(Path(os.environ[name]).absolute())
    _prefer_installed_packages()
    home = os.environ.get("HOME")
    if not home or not Path(home).is_dir():
        os.environ["HOME"] = str(CACHE)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # in a container, under a number without a user
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    utf8 = sys.flags.utf8_mode or locale.getencoding().lower() == "utf-8"
    if site.ENABLE_USER_SITE or strict or not utf8:
        os.execv(sys.executable, [sys.executable, "-s", "-X", "utf8", *sys.orig_argv[1:]])


def _prefer_installed_packages() -> None:
    """Look into the folders of $PYTHONPATH last, so that nothing there stands in for a locked package."""
    given = {str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    sys.path.sort(key=lambda folder: folder in given - {str(REPOSITORY), *site.getsitepackages()})
