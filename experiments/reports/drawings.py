"""Figures by name: those of extensions for the report, and any single one with a size and style of one's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments.common.errors import UserError, nearest
from experiments.common.paths import REPOSITORY
from experiments.figures.registry import FIGURES
from experiments.reports.catalogue import all_studies, figures_of
from experiments.reports.execution import has_results
from experiments.reports.notebook import Session


def draw_all(profile: str, root: Path = REPOSITORY) -> None:
    """Draw every figure of an extension whose study has tables; raises UserError if one fails."""
    for name, drawing in FIGURES.items():
        if has_results(drawing.study, profile, root):
            with _naming(name):
                Session(drawing.study, profile, root).draw(name)


def find(
    path: str,
    profile: str,
    choose: Callable[[list[pd.DataFrame]], list[pd.DataFrame]] = lambda tables: tables,
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
    known = dict(_figures(study, profile, choose, root))
    if path not in known:
        raise UserError(f"there is no figure {path!r} of profile {profile}; {nearest(path, known)}")
    return known[path]


def _figures(
    study: str, profile: str, choose: Callable[[list[pd.DataFrame]], list[pd.DataFrame]], root: Path
) -> Iterator[tuple[str, Callable[..., Figure]]]:
    """The figures of a study by path."""
    for name, drawing in figures_of(study).items():
        read = choose(Session(study, profile, root).tables(drawing))
        draw = partial(_drawn, f"{study}/{name}", drawing.draw, *read)
        if drawing.each is None:
            yield f"{study}/{name}", draw
        else:
            yield from ((f"{study}/{name}-{one}", partial(draw, one)) for one in drawing.each(*read))


def _drawn(name: str, draw: Callable[..., Figure], *tables: object, **look: object) -> Figure:
    with _naming(name):
        return draw(*tables, **look)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which figure fails, and why."""
    try:
        yield
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the figure {name!r} cannot be drawn: {words}") from error
