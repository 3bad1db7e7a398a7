"""PAL's hyper-parameters: their ranges, and those that all parameter groups must share."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from torch import Tensor

SHARED: Final = ("lr", "mu", "alpha", "beta", "s_max", "maximize", "foreach")
"""Hyper-parameters of the line, which all parameter groups share."""

RANGES: Final[dict[str, tuple[Callable[[float], bool], str]]] = {
    "lr": (lambda value: 0 <= value < math.inf, "a finite number >= 0"),
    "mu": (lambda value: 0 < value < math.inf, "a finite number > 0"),
    "alpha": (lambda value: 0 < value < math.inf, "a finite number > 0"),
    "beta": (lambda value: 0 <= value < 1, "a number >= 0 and < 1"),
    "s_max": (lambda value: value > 0, "a number > 0, or infinity"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "a finite number >= 0"),
}


def check_group(group: Mapping[str, Any]) -> None:
    """Raise ValueError if a hyper-parameter is out of range.

    >>> check_group({"mu": -1.0})
    Traceback (most recent call last):
    ...
    ValueError: mu must be a finite number > 0, got -1.0
    """
    for name, (valid, allowed) in RANGES.items():
        if name not in group:
            continue
        value = group[name]
        if isinstance(value, Tensor) and name == "lr":
            continue  # reading it would wait for its device
        if isinstance(value, bool) or not isinstance(value, int | float) or not valid(value):
            raise ValueError(f"{name} must be {allowed}, got {value!r}")


def check_shared(groups: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError if parameter groups disagree on a hyper-parameter of the line, which they share."""
    first, *others = groups
    for group in others:
        for name in SHARED:
            ours, theirs = first[name], group[name]
            if ours is not theirs and (isinstance(cast(object, ours), Tensor) or ours != theirs):
                values = [each[name] for each in groups]
                raise ValueError(
                    f"{name} must be the same in all parameter groups, which move on one line; got {values}"
                )
