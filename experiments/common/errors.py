"""Errors that the user can fix: one clear sentence, no traceback, exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A sentence naming the thing, the value and what is allowed; the command line prints it, exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What is known instead of `name`: "did you mean 'a'?" if something is close, else all names."""
    names = list(known)
    close = difflib.get_close_matches(str(name)[:100], names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known are {', '.join(names)}"
