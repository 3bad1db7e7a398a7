"""Errors that the user can fix: one clear sentence, no traceback, exit code 2."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A sentence naming the thing, the value and what is allowed; the command line prints it, exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What is known instead of `name`: "did you mean 'a'?" if something is close, else all names."""
    names = list(known)
    close = difflib.get_close_matches(str(name)[:100], names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known are {', '.join(names)}"


def reason(error: OSError) -> str:
    """Why the system refused something; instead of "File exists", what lies where a folder should be."""
    place = Path(error.filename or "")
    if not isinstance(error, FileExistsError) or not os.path.lexists(place) or place.is_dir():
        return error.strerror or str(error)
    if place.exists():
        return "it is not a folder"
    return f"it is a link to {place.readlink()}, which does not exist"
