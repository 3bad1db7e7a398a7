"""What all figures share: size and style, colours, labels, order, and how they are saved."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.style import context
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

PAPER = {
    "pal": "#1f5fbf",
    "sgd": "#8c564b",
    "adam": "#7b3fb5",
    "rmsprop": "#111111",
    "sls": "#d62728",
    "sgdhd": "#2ca02c",
    "alig": "#17a2b8",
    "cocob": "#ff7f0e",
}
"""The paper's colours. Schedules are dashed, so that methods do not differ by colour alone."""

OTHERS = (
    "#e377c2",
    "#7f7f7f",
    "#a07d00",
    "#5b8a72",
    "#b56576",
    "#3d5a80",
    "#9a8c98",
    "#6a994e",
    "#bc6c25",
    "#577590",
)
FONT: dict[Any, Any] = {"font.size": 9, "pdf.fonttype": 42}
"""Size of the text in points, and TrueType fonts in PDF, which many journals require."""

STYLE: dict[Any, Any] = FONT | {
    "figure.dpi": 100,
    "figure.titlesize": "medium",
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "legend.fontsize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "figure.constrained_layout.use": True,
}
"""matplotlib's rcParams; sizes are relative to font.size."""

Style = str | Path | dict[Any, Any]
"""What `matplotlib.style.use` takes: the name of a style, a file of rcParams, or rcParams."""

Size = tuple[float | None, float | None]
"""Width and height in inches, where they were asked for."""

_size: ContextVar[Size | None] = ContextVar("size", default=None)
"""Of the figure that is being drawn; None if none is."""


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Let whoever calls a function that draws choose size and style; by default, those of the report.

    Adds the arguments:
        width, height: Of the figure, in inches.
        font_size: Of its text, in points; titles and labels are relative to it.
        style: rcParams, the name of a style, or a file of one, as `matplotlib.style.use` takes them.
        title: Whether it has a title above all panels.
    """
    if "font_size" in inspect.signature(draw).parameters:
        return draw

    @wraps(draw)
    def drawn(
        *tables: Any,
        width: float | None = None,
        height: float | None = None,
        font_size: float = STYLE["font.size"],
        style: Style | None = None,
        title: bool = True,
        **others: Any,
    ) -> Figure:
        if _size.get() is not None:  # whoever calls it has chosen
            return draw(*tables, **others)
        before = _size.set((width, height))
        try:
            with context([STYLE, {"font.size": font_size}, {} if style is None else style]):
                figure = draw(*tables, **others)
                _make_first_ticks(figure)
        finally:
            _size.reset(before)
        figure.set_size_inches(width or figure.get_figwidth(), height or figure.get_figheight())
        _set_title(figure, figure.get_suptitle() if title else "")
        if width or height or _is_crowded(figure, font_size):
            _wrap(figure)
        return figure

    _add_arguments(drawn, draw)
    return drawn


def _make_first_ticks(figure: Figure) -> None:
    """Make what all further ticks copy, which otherwise would have the style in which the figure is saved."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_ticks(1)
            axis.get_minor_ticks(1)


def _set_title(figure: Figure, words: str) -> None:
    """Write a title on as many lines as it needs, or on none."""
    if figure.get_suptitle():
        figure.suptitle(words, wrap=True).set_in_layout(bool(words))


WIDE = 0.6
"""Width of a character, at most on average, as a multiple of the size of the font."""


def _is_crowded(figure: Figure, font_size: float) -> bool:
    """Whether the title of a panel may be wider than its share of the figure; measuring it would take long."""
    for axes in figure.axes:
        place = axes.get_subplotspec()
        share = figure.get_figwidth() * 72 / (place.get_gridspec().ncols if place else 1)
        if max(map(len, axes.get_title().split("\n"))) * WIDE * font_size > share:
            return True
    return False


def _wrap(figure: Figure) -> None:
    """Break titles and labels that are longer than the side of their panel."""
    figure.draw_without_rendering()  # which places the panels
    for axes in figure.axes:
        panel = axes.get_window_extent()
        for text, across in ((axes.title, True), (axes.xaxis.label, True), (axes.yaxis.label, False)):
            words, lines = text.get_window_extent(), text.get_text().split("\n")
            has, needs = (panel.width, words.width) if across else (panel.height, words.height)
            if needs > has:
                most = max(8, int(has / needs * max(map(len, lines))))
                text.set_text("\n".join(fill(line, most) for line in lines))


def _add_arguments(drawn: Callable[..., Figure], draw: Callable[..., Figure]) -> None:
    """Have help() and editors show the arguments that `styled` adds."""
    added = [
        parameter
        for parameter in inspect.signature(drawn, follow_wrapped=False).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    of_draw = inspect.signature(draw)
    signature = of_draw.replace(parameters=[*of_draw.parameters.values(), *added])
    setattr(drawn, "__signature__", signature)  # noqa: B010  (functions declare no such attribute)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write PNG and PDF without dates, so that the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".png"), path.with_suffix(".pdf")]
    figure.savefig(files[0], metadata={"Software": None})
    figure.set_layout_engine(None)  # the layout is done; a second one would take as long as drawing
    with mpl.rc_context(FONT):
        figure.savefig(files[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return files


def remark(figure: Figure, words: str) -> None:
    """Write a remark above a figure, in red."""
    title = figure.get_suptitle()
    figure.suptitle(f"{title}\n{words}" if title else words, fontsize=9, color="#d62728")


def colours(methods: Iterable[str]) -> dict[str, str]:
    """The paper's colours for its optimizers, with or without schedule; other colours for the others."""
    names = sorted(set(methods))
    further = iter(OTHERS * (len(names) // len(OTHERS) + 1))
    found = {name: PAPER.get(name.removesuffix("-step")) for name in names}
    return {name: colour or next(further) for name, colour in found.items()}


def in_order(methods: Iterable[str]) -> list[str]:
    """PAL first, then the paper's optimizers, each followed by itself with schedule, then the others."""
    order = list(PAPER)
    known = {name: place for place, name in enumerate(order)}
    return sorted(set(methods), key=lambda name: (known.get(name.removesuffix("-step"), len(order)), name))


def tried(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that selected hyper-parameters, with the same seeds for all; all runs if nothing was selected."""
    return _of_phase(runs, "selection")


def fresh(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with seeds that selected nothing; all runs if there are none."""
    return _of_phase(runs, "evaluation")


def _of_phase(runs: pd.DataFrame, phase: str) -> pd.DataFrame:
    some = runs[runs["phase"] == phase] if "phase" in runs else runs
    return some if len(some) else runs


def new_figure(width: float, height: float, **layout: Any) -> tuple[Figure, Any]:
    """Create a figure that pyplot does not keep open."""
    asked_width, asked_height = _size.get() or (None, None)
    figure = Figure(figsize=(asked_width or width, asked_height or height))
    return figure, figure.subplots(**layout)


PAGE = 7.2
"""Width of a figure in inches, unless another one is asked for."""


def columns_at_most(count: int) -> int:
    """How many columns of panels fit where `count` fit across a page: as many as are about as wide as there."""
    width, _ = _size.get() or (None, None)
    return max(1, round(count * (width or PAGE) / PAGE))


def panels(
    count: int, columns: int, height: float, y: str, x: str = "", **layout: Any
) -> tuple[Figure, list[Axes]]:
    """Create a figure with `count` axes, row by row.

    Args:
        count: Number of axes.
        columns: Maximum number of columns.
        height: Height of a row in inches.
        y: Label of the first axes of each row.
        x: Label of the lowest axes of each column.
        layout: Arguments of `Figure.subplots`.
    """
    columns = max(1, min(columns_at_most(columns), count))
    rows = -(-count // columns)
    figure, grid = new_figure(PAGE, height * rows + 0.7, nrows=rows, ncols=columns, squeeze=False, **layout)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(y)
    for axes in grid.flat[max(0, count - columns) : count]:
        axes.set_xlabel(x)
    return figure, list(grid.flat[:count])


def measures(
    titles: Sequence[str], words: Sequence[str], x: str, height: float, width: float = PAGE, **layout: Any
) -> tuple[Figure, np.ndarray]:
    """Create a figure with a column per problem and a row per measure; returns also its axes [measures, problems].

    Args:
        titles: Titles of the columns.
        words: Labels of the rows.
        x: Label below each column.
        height: Height of a row in inches.
        width: Width of the figure in inches.
        layout: Arguments of `Figure.subplots`.
    """
    figure, grid = new_figure(
        width, height * len(words) + 0.7, nrows=len(words), ncols=max(1, len(titles)), squeeze=False, **layout
    )
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel(x)
    for axes, measure in zip(grid[:, 0], words, strict=True):
        axes.set_ylabel(measure)
    return figure, grid


def legend(figure: Figure, looks: Mapping[str, dict[str, Any]], columns: int = 3) -> None:
    """Put a legend below the figure: lines that look so, by their labels, in as many columns and lines as fit."""
    handles = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    too_wide = 2.0
    for count in range(columns, 0, -1):
        too_wide = _put_legend(figure, handles, count)
        if too_wide <= 1:
            return
    longest = max(map(len, looks))
    for handle in handles:
        words = str(handle.get_label())
        handle.set_label(fill(words, max(10, int((longest + SAMPLE) / too_wide) - SAMPLE)))
    _put_legend(figure, handles, 1)


SAMPLE = 6
"""Characters that are as wide as the sample before a label."""


def _put_legend(figure: Figure, handles: Sequence[Line2D], columns: int) -> float:
    """Replace the legend of a figure; returns its width as a multiple of the figure's."""
    for one in figure.legends:
        one.remove()
    drawn = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return drawn.get_window_extent().width / figure.bbox.width


class Few(LogLocator):
    """Ticks at 1, 2 and 5 of each decade; for more than two decades, at 1 only."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Positions of the ticks."""
        self.set_params(subs=(1, 2, 5) if vmax < 100 * vmin else (1,))
        return super().tick_values(vmin, vmax)


def set_y_scale(axes: Axes, scale: str) -> None:
    """Set the scale of the vertical axis, with plain numbers if it is logarithmic."""
    axes.set_yscale(scale)
    if scale == "log":
        plain_log(axes.yaxis)


def plain_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers such as 0.02, few enough to read."""
    axis.set_major_locator(Few())
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())
