"""What git knows of this checkout."""

import os
import subprocess

from experiments.common.paths import REPOSITORY


def git(*words: str) -> str | None:
    """Output of a git command as text; None without git, if it fails, and if this checkout is not a repository.

    A repository around the checkout does not count, nor one that the environment names. One that belongs to another
    user does, as in a container.
    """
    found = _output(*words)
    return None if found is None else found.decode(errors="replace").rstrip("\n")


def archive(revision: str, path: str) -> bytes | None:
    """A folder of a revision as a tar file; None if there is no such revision, or no such folder in it."""
    known = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return (known and _output("archive", known, path)) or None


def _output(*words: str) -> bytes | None:
    # Looking at the repository locks nothing, so that whatever else is at work in it goes on.
    ours = {"GIT_CEILING_DIRECTORIES": str(REPOSITORY.parent), "GIT_OPTIONAL_LOCKS": "0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ours
    options = (f"safe.directory={REPOSITORY}", "core.fsmonitor=false", "core.excludesFile=")
    command = ["git", *(word for option in options for word in ("-c", option)), *words]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
