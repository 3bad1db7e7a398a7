"""What a figure is drawn from. Extensions add figures of their own; those of the project are in `reports.catalogue`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from experiments.common.errors import UserError
from experiments.common.registry import Registry, instance_of
from experiments.figures.style import styled


@dataclass(frozen=True)
class Drawing:
    """A figure, or one for each problem.

    Attributes:
        draw: Returns the figure; takes the tables in this order and, after them, the problem if there is one for each.
        study: The study with the tables.
        tables: Their names.
        each: The problems for which there is a figure of their own, of the same tables; None for a single figure.
    """

    draw: Callable[..., Figure]
    study: str
    tables: tuple[str, ...] = ("runs",)
    each: Callable[..., Sequence[str]] | None = None

    def __post_init__(self) -> None:
        """Let size and style be chosen."""
        object.__setattr__(self, "draw", styled(self.draw))

    def named(self, name: str, tables: Sequence[pd.DataFrame]) -> dict[str, Callable[..., Figure]]:
        """What draws the figure of this name from its tables, or each of several, named after their problems."""
        if self.each is None:
            return {name: partial(self.draw, *tables)}
        return {f"{name}-{one}": partial(self.draw, *tables, one) for one in self.each(*tables)}


FIGURES: Registry[Drawing] = Registry("figure", {}, "FIGURES", instance_of(Drawing))
"""By name; the file is figures/<profile>/<study>/<name>."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say which figure cannot be drawn, and why, by a UserError."""
    try:
        yield
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the figure {name!r} cannot be drawn: {words}") from error
