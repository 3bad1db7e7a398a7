"""YAML 1.2, which includes JSON: 1e-3 is a number, and a key given twice is a mistake."""

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError

from experiments.common.errors import UserError
from experiments.common.paths import regular

LARGEST = 100_000
"""Values in a text, at most: with aliases, a few lines can stand for billions of them, or for endlessly many."""

LONGEST = 10_000
"""Bits of a number, at most: Python shows no number of more than 4300 digits."""


class AsWritten(SafeConstructor):
    """Leaves numbers as text: 0123 keeps its zero, and 1.10 is not 1.1."""


for tag in ("int", "float"):
    AsWritten.add_constructor(f"tag:yaml.org,2002:{tag}", SafeConstructor.construct_yaml_str)


def parse(text: str, where: str, numbers: bool = True) -> Any:
    """What a YAML text says; raises UserError naming `where` if it is not valid, or endless.

    Args:
        text: The text.
        where: What it is, for messages.
        numbers: Whether numbers are numbers; else they are text, as they are written.
    """
    return deepcopy(_parsed(text, where, numbers))


@lru_cache(maxsize=8)  # a profile is read again and again, to notice when it is changed
def _parsed(text: str, where: str, numbers: bool) -> Any:
    yaml = YAML(typ="safe", pure=True)
    if not numbers:
        yaml.Constructor = AsWritten
    try:
        value = yaml.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{where} is not valid YAML{place}: {reason}") from None
    except (RecursionError, ValueError):  # brackets within brackets, a number of thousands of digits, no date
        raise UserError(f"{where} is nested too deeply, or contains an invalid number or date") from None
    if _is_too_large(value):
        raise UserError(
            f"{where} contains more than {LARGEST:,} values, or itself, or a number of thousands of digits"
        )
    return value


def _is_too_large(value: Any) -> bool:
    waiting, count = [value], 0
    while waiting and count < LARGEST:
        one = waiting.pop()
        count += 1
        if isinstance(one, int) and one.bit_length() > LONGEST:
            return True
        if isinstance(one, dict | list | set | tuple):
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return bool(waiting)


def parse_fields(text: str, where: str, numbers: bool = True) -> dict[str, Any]:
    """The same for a text that must hold NAME: VALUE fields."""
    fields = parse(text, where, numbers)
    if not isinstance(fields, dict):
        raise UserError(f"{where} must consist of lines NAME: VALUE")
    return {str(name): value for name, value in fields.items()}


def read_fields(path: Path, where: str, numbers: bool = True) -> dict[str, Any]:
    """The same for a file; raises UserError if it cannot be read."""
    try:
        text = regular(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{where} is not UTF-8 text") from None
    return parse_fields(text, where, numbers)
