"""YAML as people mean it: 1e-3 is a number, and a key given twice is a mistake."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from experiments.errors import UserError

SCIENTIFIC = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
"""Numbers such as 1e-3, which YAML 1.1 takes for text because there is no dot."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(
                problem=f"the key {twice!r} is there twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", SCIENTIFIC, list("-+.0123456789"))


def parse(text: str, where: str) -> Any:
    """What a YAML (or JSON) text says; raises UserError naming `where` if it is neither."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def parse_fields(text: str, where: str) -> dict[str, Any]:
    """The same for a text that must hold NAME: VALUE fields."""
    fields = parse(text, where)
    if not isinstance(fields, dict):
        raise UserError(f"{where} must hold lines NAME: VALUE")
    return {str(name): value for name, value in fields.items()}
