"""Training progress over wall-clock time instead of steps."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.benchmark import line_style, method_legend, without_the_lowest
from experiments.figures.style import PAGE, STYLE, colours, in_order, new_figure, plain_log

ROWS = (
    ("train_loss", "training loss", "training loss\n(with L2 term)", "log"),
    ("val_accuracy", "validation accuracy", "validation\naccuracy", "linear"),
)
"""Column, criterion by which the configuration is selected, label, scale."""


@mpl.rc_context(STYLE)
def wall_clock(curves: pd.DataFrame, best: pd.DataFrame, times: pd.DataFrame, problem: str) -> Figure:
    """Each method's best configuration over steps (left) and over time (right), mean over seeds.

    The time of a step is the median over all runs of the method, without evaluations.
    """
    curves, best, times = (table[table["problem"] == problem] for table in (curves, best, times))
    methods = in_order(curves["method"])
    colour = colours(methods)
    seconds = times.groupby("method")["seconds_per_step"].median()
    figure, grid = new_figure(PAGE, 5.6, nrows=len(ROWS), ncols=2, sharey="row")
    for row, (column, criterion, words, scale) in enumerate(ROWS):
        chosen = curves.merge(
            best.loc[best["criterion"] == criterion, ["method", "setting"]], on=["method", "setting"]
        )
        for method in methods:
            values = chosen[chosen["method"] == method].groupby("step")[column].mean()
            grid[row, 0].plot(values.index, values, color=colour[method], **line_style(method))
            grid[row, 1].plot(
                values.index * seconds[method], values, color=colour[method], **line_style(method)
            )
        grid[row, 0].set(ylabel=words, yscale=scale)
        grid[row, 1].set_xscale("log")
        plain_log(grid[row, 1].xaxis)
    plain_log(grid[0, 0].yaxis)
    without_the_lowest(grid[1, 0], curves, "val_accuracy")
    grid[1, 0].set_xlabel("step")
    grid[1, 1].set_xlabel("time (s, logarithmic)")
    figure.suptitle(f"{problem}: the same runs over steps and over time", fontsize=10)
    method_legend(figure, methods, colour)
    return figure
