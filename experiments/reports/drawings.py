"""Any single figure by its path, with a size and style of one's own."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.common.errors import UserError, nearest
from experiments.common.paths import REPOSITORY
from experiments.figures.registry import Drawing, naming
from experiments.reports.catalogue import all_studies, figures_of, tables_of

Chosen = Callable[[list[pd.DataFrame]], list[pd.DataFrame]]
"""Takes rows of tables."""

Named = tuple[str, Callable[..., Figure]]


def find(
    path: str,
    profile: str,
    choose: Chosen = lambda tables: tables,
    root: Path = REPOSITORY,
) -> Callable[..., Figure]:
    """The function that draws one figure, which takes size and style (see `figures.style.styled`).

    Args:
        path: Study and name, as the file in figures/<profile>/, without ending.
        profile: The profile with the tables.
        choose: Takes the rows of the tables that are drawn.
        root: Folder that contains results/.

    Raises:
        UserError: If there is no such figure or no table for it, and when it is drawn, if that fails.
    """
    study = path.partition("/")[0]
    if study not in all_studies():
        raise UserError(
            f"the figure {path!r} is of no study; it must be a path such as lines/line-shape, and the studies with "
            f"figures are {', '.join(all_studies())}"
        )
    named = {f"{study}/{name}": drawing for name, drawing in figures_of(study).items()}
    meant = {name: drawing for name, drawing in named.items() if path == name or path.startswith(f"{name}-")}
    known = dict(_figures(meant or named, profile, choose if meant else lambda tables: tables, root))
    if path not in known:
        instead = f"those of {study} are {', '.join(known)}" if path == study else nearest(path, known)
        raise UserError(f"there is no figure {path!r} of profile {profile}; {instead}")
    return known[path]


def _figures(drawings: Mapping[str, Drawing], profile: str, choose: Chosen, root: Path) -> Iterator[Named]:
    """The figures by path, one for each problem where there are several."""
    for name, drawing in drawings.items():
        named = drawing.named(name, choose(tables_of(drawing, profile, root)))
        yield from ((one, partial(_drawn, name, draw)) for one, draw in named.items())


def _drawn(name: str, draw: Callable[..., Figure], **look: object) -> Figure:
    with naming(name):
        return draw(**look)
