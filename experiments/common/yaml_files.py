"""YAML 1.2, of which JSON is a part: 1e-3 is a number, and a key given twice is a mistake."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from experiments.common.errors import UserError


def parse(text: str, where: str) -> Any:
    """What a YAML text says; raises UserError naming `where` if it is none."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{where} is not valid YAML{place}: {getattr(error, 'problem', error)}") from None


def parse_fields(text: str, where: str) -> dict[str, Any]:
    """The same for a text that must hold NAME: VALUE fields."""
    fields = parse(text, where)
    if not isinstance(fields, dict):
        raise UserError(f"{where} must hold lines NAME: VALUE")
    return {str(name): value for name, value in fields.items()}
