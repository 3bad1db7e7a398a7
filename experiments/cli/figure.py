"""One figure as a file, with a size and style of one's own."""

import logging
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments.cli.list_runs import rows_where
from experiments.common.errors import UserError
from experiments.figures.style import FONT
from experiments.reports import drawings
from experiments.results import missing

FORMATS = (".pdf", ".svg", ".pgf", ".png")

LATEX = ("pdflatex", "xelatex", "lualatex")
"""Programs by which matplotlib measures the text of PGF."""

log = logging.getLogger(__name__)


def main(path: str, profile: str, conditions: Sequence[str], output: str | None, **look: Any) -> Path:
    """Draw a figure and write it.

    Args:
        path: Study and name, as the file in figures/<profile>/, without ending.
        profile: The profile with the tables.
        conditions: FIELD=VALUE that all rows fulfil that are drawn.
        output: The file; its ending is the format. None: the name of the figure, as PDF.
        look: Size and style, see `figures.style.styled`.

    Raises:
        UserError: If there is no such figure, nothing to draw, or no such format.
    """
    file = Path(output or f"{path.rpartition('/')[2]}.pdf")
    _require_format(file)
    figure = drawings.find(path, profile, partial(rows_where, conditions=conditions))(**look)
    lacking = missing.words(profile, path.partition("/")[0])
    if lacking:
        log.warning(f"incomplete: {lacking}")
    _write(figure, file)
    return file


def _require_format(file: Path) -> None:
    if file.suffix not in FORMATS:
        raise UserError(f"the format of {str(file)!r} is not known; it must end with {', '.join(FORMATS)}")
    if file.suffix == ".pgf" and not _latex():
        raise UserError(
            f"PGF needs LaTeX, and none of {', '.join(LATEX)} is on this machine; PDF and SVG need nothing else"
        )


def _latex() -> str | None:
    return next(filter(shutil.which, LATEX), None)


def _write(figure: Figure, file: Path) -> None:
    """Write a figure without dates, so that the same figure gives the same bytes; PGF has the fonts of its document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    how: dict[Any, Any] = FONT | {"svg.hashsalt": "pal", "svg.fonttype": "none", "pgf.rcfonts": False}
    if file.suffix == ".pgf":
        how |= {"pgf.texsystem": _latex()}
        _escape(figure)
    dates = {
        ".pdf": ("CreationDate", "Producer", "Creator"),
        ".svg": ("Date", "Creator"),
        ".png": ("Software",),
    }
    with mpl.rc_context(how):
        figure.savefig(file, dpi=300, metadata=dict.fromkeys(dates.get(file.suffix, ())))


def _escape(figure: Figure) -> None:
    """Have LaTeX print the characters that are commands to it; matplotlib does so for underscores only."""
    figure.draw_without_rendering()  # which writes the labels of the ticks
    for text in figure.findobj(Text):
        words = text.get_text()
        if "$" not in words:
            for character in "%#&":
                words = words.replace(character, f"\\{character}")
            text.set_text(words)
