"""Verdicts and the estimates behind them."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.common.labels import label
from experiments.figures.style import OTHERS, PAGE, PAPER, in_order, legend, new_figure, styled

VERDICTS = {
    "supported": ("#1a7f37", "✓"),
    "contradicted": ("#c62828", "✗"),
    "undecided": ("#b9770e", "?"),
    "out of reach": ("#8795b5", "–"),
    "not measured": ("#f0f0f0", ""),
}
"""Colour and symbol of each verdict."""


@styled
def verdicts(matrix: pd.DataFrame, problems: Mapping[str, str]) -> Figure:
    """The matrix of claims and problems.

    Args:
        matrix: Verdicts; a row per claim, the first column over problems, the others named by letters.
        problems: The problem of each letter.
    """
    rows, columns = matrix.shape
    figure, axes = new_figure(min(PAGE, 3.9 + 0.25 * columns), 0.2 * rows + 0.9 + 0.14 * len(problems))
    for row, name in enumerate(matrix.index):
        for column, verdict in enumerate(matrix.loc[name]):
            colour, symbol = VERDICTS[verdict]
            wide = 1.0 if column == 0 else 0.92
            axes.add_patch(
                Rectangle((column - wide / 2 + 0.04, row - 0.44), wide - 0.08, 0.88, color=colour, lw=0)
            )
            axes.annotate(symbol, (column, row), ha="center", va="center", color="white", fontsize="small")
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6))
    axes.set_yticks(range(rows), list(matrix.index), fontsize="small")
    axes.set_xticks(range(columns), ["all", *map(str, matrix.columns[1:])], fontsize="small")
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel(
        "\n".join(f"{letter}  {name}" for letter, name in problems.items()), fontsize="small", loc="left"
    )
    looks = {
        name: {"color": colour, "marker": "s", "ls": "", "ms": 8} for name, (colour, _) in VERDICTS.items()
    }
    legend(figure, looks)
    return figure


QUANTITIES = {
    "loss": (
        ("loss-constant", "loss-scheduled", "surpasses-all"),
        "log10 training loss of the rival\nminus PAL's",
    ),
    "accuracy": (
        ("accuracy-constant", "accuracy-scheduled", "surpasses-all"),
        "PAL's test accuracy\nminus the rival's",
    ),
}
"""The claims that compare PAL with one rival at a time, and what they measure; to the right, PAL is better."""


def against_rivals(estimates: pd.DataFrame) -> pd.DataFrame:
    """The estimates of PAL against one rival each, with columns quantity and rival; empty if there are none."""
    parts = estimates["part"].fillna("").astype(str)
    table = estimates.assign(rival=parts.str.rpartition(", ")[2], of=parts.str.rpartition(", ")[0])
    found = [
        table[table["id"].isin(ids) & table["of"].isin(["", quantity])].assign(quantity=quantity)
        for quantity, (ids, _) in QUANTITIES.items()
    ]
    return pd.concat(found, ignore_index=True)


@styled
def forest(estimates: pd.DataFrame) -> Figure:
    """PAL minus each rival: mean and 95 % interval for each problem, and over all of them in black.

    Args:
        estimates: As `against_rivals` returns them.
    """
    rivals = in_order(estimates["rival"])
    problems = sorted(set(estimates["problem"]) - {"over problems"})
    colours = dict(zip(problems, (PAPER["pal"], *OTHERS) * len(problems), strict=False))
    height = 0.13 * (len(problems) + 2) * len(rivals) + 1.4
    figure, grid = new_figure(PAGE, height, ncols=len(QUANTITIES), sharey=True)
    for axes, (quantity, (_, words)) in zip(grid, QUANTITIES.items(), strict=True):
        of_quantity = estimates[estimates["quantity"] == quantity]
        axes.axvline(0, color="#444444", ls="--", lw=1)
        for place, rival in enumerate(rivals):
            _of_rival(
                axes, of_quantity[of_quantity["rival"] == rival], place, [*problems, "over problems"], colours
            )
        axes.set_xlabel(f"{words} (to the right: PAL is better)", fontsize="small")
        axes.grid(visible=False, axis="y")
    grid[0].set_yticks(range(len(rivals)), [label(rival) for rival in rivals])
    grid[0].set_ylim(len(rivals) - 0.5, -0.5)
    looks = {name: {"color": colour, "marker": "o", "ms": 4} for name, colour in colours.items()}
    legend(figure, looks | {"over problems": {"color": "#111111", "marker": "D", "ms": 4}}, 2)
    return figure


def _of_rival(
    axes: Axes, rows: pd.DataFrame, place: int, order: Sequence[str], colours: Mapping[str, str]
) -> None:
    """Draw the intervals of one rival below each other."""
    for rank, problem in enumerate(order):
        one = rows[rows["problem"] == problem]
        height = place + 0.8 * ((rank + 0.5) / len(order) - 0.5)
        colour, marker = colours.get(problem, "#111111"), "o" if problem in colours else "D"
        axes.hlines([height] * len(one), one["low"], one["high"], color=colour, lw=1.5)
        axes.plot(one["mean"], [height] * len(one), marker, color=colour, ms=3.5)
    if place % 2:
        axes.axhspan(place - 0.5, place + 0.5, color="#f5f5f5", lw=0, zorder=0)
