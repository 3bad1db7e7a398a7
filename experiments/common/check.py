"""The outcome of a check of something of one's own."""

from typing import NamedTuple


class Check(NamedTuple):
    """What was checked, whether it passed, and what was found."""

    what: str
    passed: bool
    words: str
