"""Strategies on batches of different sizes, compared by the full-batch loss."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.fullbatch import STRATEGIES
from experiments.figures.style import legend, measures, styled

ROWS = {
    "improvement": "decrease of the full-batch\nloss, fraction of the\nlargest possible one",
    "step": "step (distance)",
    "distance": "full-batch optimum\nminus step\n(distance)",
}
"""Column and label."""


@styled
def batch_sizes(summary: pd.DataFrame) -> Figure:
    """Decrease of the full-batch loss, step and distance to the optimum over the batch size; means with intervals.

    The decrease is relative to that of the optimum with the same batch size; below -1 its axis is logarithmic.
    """
    problems = sorted(summary["problem"].unique())
    figure, grid = measures(problems, list(ROWS.values()), "batch size (examples)", 1.95, sharex="col")
    for column, problem in enumerate(problems):
        for axes, name in zip(grid[:, column], ROWS, strict=True):
            _over_sizes(axes, summary[summary["problem"] == problem], name)
    looks = {
        words: {"color": colour, "ls": dash, "marker": marker, "ms": 4}
        for name, (words, colour, dash, marker) in STRATEGIES.items()
        if name in set(summary["strategy"])
    }
    legend(figure, looks, len(looks))
    return figure


def _over_sizes(axes: Axes, summary: pd.DataFrame, name: str) -> None:
    """Draw a line with intervals for each strategy."""
    columns = [name, f"{name}_low", f"{name}_high"]
    if name == "improvement":
        largest = summary[summary["strategy"] == "optimum"].set_index("size")[name]
        relative = summary[columns].div(summary["size"].map(largest), axis=0)
        summary = pd.concat([summary.drop(columns=columns), relative], axis=1)
        axes.set_yscale("symlog", linthresh=1.0, linscale=1.5)
        axes.yaxis.set_major_formatter("{x:g}")
    for strategy, (_, colour, dash, marker) in STRATEGIES.items():
        values = summary[summary["strategy"] == strategy].sort_values("size")
        axes.plot(
            values["size"], values[name], color=colour, ls=dash, marker=marker, ms=4,
            lw=2.2 if strategy == "pal" else 1.5, zorder=4 if strategy == "pal" else 3,
        )  # fmt: skip
        axes.fill_between(
            values["size"], values[f"{name}_low"], values[f"{name}_high"], color=colour, alpha=0.1, lw=0
        )
    axes.axhline(0, color="#bbbbbb", lw=0.8, zorder=1)
    sizes = np.sort(summary["size"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
