"""What a person's account and machine have set up, as far as it must not decide what comes out."""

import getpass
import locale
import os
import site
import sys
from pathlib import Path

from experiments.common.paths import REPOSITORY

CACHE = REPOSITORY / ".cache"
"""Instead of folders in a home that may be full, read-only or not there, and that holds settings of all kinds."""

FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter",
}
FIXED = {"MPLBACKEND": "agg", "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"}
UNSET = ("JUPYTER_PATH", "MATPLOTLIBRC", "PYTHONIOENCODING")


def settle() -> None:
    """Set the variables by which libraries find settings; begin anew if Python itself has read others already."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the core to others
    os.environ.update(FIXED | {name: str(CACHE / folder) for name, folder in FOLDERS.items()})
    for name in UNSET:
        os.environ.pop(name, None)
    home = os.environ.get("HOME")
    if home is None or not Path(home).is_dir():
        os.environ["HOME"] = str(CACHE)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a container, with a number that no user has
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    utf8 = sys.flags.utf8_mode or locale.getencoding().lower() == "utf-8"
    if site.ENABLE_USER_SITE or not utf8:
        os.execv(sys.executable, [sys.executable, "-s", "-X", "utf8", *sys.orig_argv[1:]])
