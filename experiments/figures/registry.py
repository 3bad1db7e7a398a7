"""Figures of extensions; those of the project are drawn by its notebooks."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from experiments.common.registry import Registry, instance_of


@dataclass(frozen=True)
class Drawing:
    """A figure of one's own.

    Attributes:
        draw: Returns the figure; takes the tables in this order.
        study: The study with the tables.
        tables: Their names.
    """

    draw: Callable[..., Figure]
    study: str
    tables: tuple[str, ...] = ("runs",)


FIGURES: Registry[Drawing] = Registry("figure", {}, "FIGURES", instance_of(Drawing))
"""By name; the file is figures/<profile>/<study>/<name>."""
