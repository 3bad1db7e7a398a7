"""Training progress over wall-clock time instead of steps."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.benchmark import (
    TRAINING,
    line_style,
    log_if_possible,
    method_legend,
    validation,
    without_the_lowest,
)
from experiments.figures.measures import ACCURACY, quality
from experiments.figures.style import PAGE, STYLE, colours, in_order, new_figure, plain_log


@mpl.rc_context(STYLE)
def wall_clock(curves: pd.DataFrame, best: pd.DataFrame, times: pd.DataFrame, problem: str) -> Figure:
    """Each method's best configuration over steps (left) and over time (right), mean over seeds.

    The time of a step is the median over all runs of the method, without evaluations.
    """
    curves, best, times = (table[table["problem"] == problem] for table in (curves, best, times))
    methods = in_order(curves["method"])
    colour = colours(methods)
    seconds = times.groupby("method")["seconds_per_step"].median()
    measure = quality(curves)
    figure, grid = new_figure(PAGE, 5.6, nrows=2, ncols=2, sharey="row")
    for row, (column, criterion, words) in enumerate((TRAINING, validation(measure))):
        chosen = curves.merge(
            best.loc[best["criterion"] == criterion, ["method", "setting"]], on=["method", "setting"]
        )
        for method in methods:
            values = chosen[chosen["method"] == method].groupby("step")[column].mean()
            grid[row, 0].plot(values.index, values, color=colour[method], **line_style(method))
            grid[row, 1].plot(
                values.index * seconds[method], values, color=colour[method], **line_style(method)
            )
        grid[row, 0].set_ylabel(words)
        if column != ACCURACY.curve:
            log_if_possible(grid[row, 0], curves[column])
        grid[row, 1].set_xscale("log")
        plain_log(grid[row, 1].xaxis)
    if measure is ACCURACY:
        without_the_lowest(grid[1, 0], curves, measure.curve)
    grid[1, 0].set_xlabel("step")
    grid[1, 1].set_xlabel("time (s, logarithmic)")
    figure.suptitle(f"{problem}: the same runs over steps and over time", fontsize=10)
    method_legend(figure, methods, colour)
    return figure
