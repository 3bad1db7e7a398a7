"""Training progress over wall-clock time instead of steps."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.common.labels import label
from experiments.figures.benchmark import (
    TRAINING,
    line_style,
    method_legend,
    validation,
    without_the_lowest,
)
from experiments.figures.measures import ACCURACY, quality, scale
from experiments.figures.style import (
    PAGE,
    PAPER,
    colours,
    fresh,
    in_order,
    legend,
    new_figure,
    plain_log,
    set_y_scale,
    styled,
)


@styled
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
            set_y_scale(grid[row, 0], scale(curves[column]))
        grid[row, 1].set_xscale("log")
        plain_log(grid[row, 1].xaxis)
    if measure is ACCURACY:
        without_the_lowest(grid[1, 0], curves, measure.curve)
    grid[1, 0].set_xlabel("step")
    grid[1, 1].set_xlabel("time (s, logarithmic)")
    figure.suptitle(f"{problem}: the same runs over steps and over time")
    method_legend(figure, methods, colour)
    return figure


AT_STEPS: dict[str, Any] = {"color": "#444444", "marker": "o", "mfc": "white", "ls": "", "ms": 7}
AT_TIME: dict[str, Any] = {"color": PAPER["pal"], "marker": "o", "ls": "", "ms": 4}
"""Of different size, so that both are seen where they coincide."""


@styled
def equal_time(ranks: pd.DataFrame, problem: str) -> Figure:
    """Training loss of each method at the end of its training, and at the time at which the fastest method ends.

    Args:
        ranks: As `at_equal_time` returns them.
        problem: For the title.
    """
    figure, axes = new_figure(PAGE * 0.7, 0.24 * len(ranks) + 1.3)
    places = np.arange(len(ranks))
    axes.hlines(places, ranks["at_steps"], ranks["at_time"], color="#bbbbbb", lw=1.2)
    axes.plot(ranks["at_steps"], places, **AT_STEPS)
    axes.plot(ranks["at_time"], places, **AT_TIME)
    axes.set_yticks(places, [label(name) for name in ranks["method"]])
    axes.set(
        xscale="log", xlabel="training loss (with L2 term), mean over seeds", ylim=(len(ranks) - 0.5, -0.5)
    )
    losses = ranks[["at_steps", "at_time"]]
    low, high = losses.min().min(), losses.max().max()
    if low < high < 1.1 * low:  # a difference in the last digit has no ticks that could be placed
        axes.set_xlim(low / 1.1, high * 1.1)
    plain_log(axes.xaxis)
    axes.grid(visible=False, axis="y")
    looks = {
        "after the same number of steps": AT_STEPS,
        f"after the same time, {ranks['budget'].iloc[0]:.3g} s of steps": AT_TIME,
    }
    figure.suptitle(f"{problem}: ranking at equal time")
    legend(figure, looks, 1)
    return figure


def at_equal_time(
    runs: pd.DataFrame, curves: pd.DataFrame, best: pd.DataFrame, times: pd.DataFrame, problem: str
) -> pd.DataFrame:
    """The methods in the order of their loss after the time in which the fastest one takes all of its steps.

    Each with the setting of lowest training loss, mean over the fresh seeds. at_steps: after all steps; at_time: after
    `budget` seconds, by the curve and the median time of a step; rank and rank_at_steps.
    """
    chosen = best.loc[
        (best["problem"] == problem) & (best["criterion"] == "training loss"), ["method", "setting"]
    ]
    judged = fresh(runs[runs["problem"] == problem]).merge(chosen)
    keys = ["problem", "method", "setting", "seed"]
    seconds = judged[keys].merge(times, on=keys).groupby("method")["seconds_per_step"].median()
    means = curves.merge(judged[keys], on=keys).groupby(["method", "step"])["train_loss"].mean()
    last = means.groupby("method").tail(1).reset_index("step")
    budget = float((last["step"] * seconds).min())
    steps = (budget / seconds).clip(upper=last["step"])
    reached = {
        method: np.exp(np.interp(steps[method], curve.index.get_level_values("step"), np.log(curve)))
        for method, curve in means.groupby("method")
    }
    table = pd.DataFrame({"at_steps": last["train_loss"], "at_time": pd.Series(reached), "budget": budget})
    table = table.assign(rank_at_steps=table["at_steps"].rank(), rank=table["at_time"].rank())
    return table.rename_axis("method").reset_index().sort_values("at_time", kind="stable", ignore_index=True)
