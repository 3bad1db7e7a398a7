"""The paper's main figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.labels import label
from experiments.figures.measures import ACCURACY, Quality, quality, scale
from experiments.figures.style import (
    PAGE,
    PAPER,
    colours,
    columns_at_most,
    in_order,
    legend,
    new_figure,
    plain_log,
    set_y_scale,
    styled,
    tried,
)

BOX = 4
"""The minimum number of runs for a box: fewer are only points."""

TRAINING = ("train_loss", "training loss", "training loss\n(with L2 term)")
RATE = ("learning_rate", "training loss", "learning rate\n(step / ||d||)")
"""Column, criterion by which the configuration is selected, label."""


def validation(measure: Quality) -> tuple[str, str, str]:
    """The same for the validation data."""
    return measure.curve, measure.criterion, f"validation\n{measure.name}"


@styled
def comparison(runs: pd.DataFrame, curves: pd.DataFrame, best: pd.DataFrame, problem: str) -> Figure:
    """The paper's main figure for one problem.

    Left: training loss, validation accuracy and learning rate of each method's best configuration, mean over seeds (the
    one with the lowest training loss; in the second row, the one with the highest validation accuracy).
    Right: every configuration with the same seeds, as points, and as boxes where there are at least `BOX` runs. Where
    accuracy is not defined, it is the loss instead.
    """
    runs, curves, best = (table[table["problem"] == problem] for table in (runs, curves, best))
    methods = in_order(runs["method"])
    colour = colours(methods)
    height = max(5.2, 2.5 + 0.34 * 2 * len(methods))  # three rows of labels need room, however few methods
    if columns_at_most(2) == 2:
        figure, axes = new_figure(PAGE, height, nrows=3, ncols=2, width_ratios=(1.25, 1))
    else:
        figure, axes = new_figure(PAGE, 2 * height, nrows=6)
        axes = axes.reshape(3, 2)
    measure = quality(runs)
    for row, (column, criterion, words) in enumerate((TRAINING, validation(measure), RATE)):
        _curves(axes[row, 0], curves, best[best["criterion"] == criterion], methods, colour, column)
        axes[row, 0].set(xlabel="step", ylabel=words)
        if column != ACCURACY.curve:
            set_y_scale(axes[row, 0], scale(curves[column]))
    if measure is ACCURACY:
        without_the_lowest(axes[1, 0], curves, measure.curve)
    grid = tried(runs)
    _boxes(axes[0, 1], grid, methods, colour, "min_train_loss", "lowest training loss", log=True)
    words = "final validation loss" if measure.low else "highest validation accuracy"
    _boxes(axes[1, 1], grid, methods, colour, measure.best, words, log=measure.low)
    words = f"test {measure.name}"
    _boxes(axes[2, 1], grid, methods, colour, measure.test, words, log=measure.low, numbers=True)
    figure.suptitle(f"{problem}: best configuration of each optimizer (left), all configurations (right)")
    method_legend(figure, methods, colour)
    return figure


def method_legend(figure: Figure, methods: Sequence[str], colour: dict[str, str]) -> None:
    """Name the lines of the methods below the figure."""
    looks = {label(method): {"color": colour[method]} | line_style(method) for method in methods}
    legend(figure, looks, min(4, len(methods)))


def line_style(method: str) -> dict[str, Any]:
    """PAL in front; schedules dashed; optimizers beyond the paper dotted."""
    known = method.removesuffix("-step") in PAPER
    dash = "--" if method.endswith("-step") else "-" if known else ":"
    return {
        "linestyle": dash,
        "linewidth": 2.4 if method == "pal" else 1.3,
        "zorder": 5 if method == "pal" else 3,
    }


def _curves(
    axes: Axes,
    curves: pd.DataFrame,
    chosen: pd.DataFrame,
    methods: Sequence[str],
    colour: dict[str, str],
    column: str,
) -> None:
    """Draw the mean over seeds of each method's selected configuration; for PAL, with the range of its seeds."""
    shown = curves.merge(chosen[["method", "setting"]], on=["method", "setting"])
    for method in methods:
        values = shown[shown["method"] == method].groupby("step")[column].agg(["mean", "min", "max"])
        axes.plot(values.index, values["mean"], color=colour[method], **line_style(method))
        if method == "pal":
            axes.fill_between(
                values.index, values["min"], values["max"], color=colour[method], alpha=0.15, linewidth=0
            )


def without_the_lowest(axes: Axes, curves: pd.DataFrame, column: str) -> None:
    """Hide the lowest accuracies: the first evaluations would compress the rest."""
    values = curves[column].dropna()
    if values.nunique() > 1:
        low, high = values.quantile(0.05), values.max()
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))


def _boxes(
    axes: Axes,
    runs: pd.DataFrame,
    methods: Sequence[str],
    colour: dict[str, str],
    column: str,
    words: str,
    log: bool = False,
    numbers: bool = False,
) -> None:
    """Draw the runs of each method as points, and a horizontal box over them if there are enough."""
    enough = runs[runs.groupby("method")[column].transform("count") >= BOX]
    log = log and scale(runs[column]) == "log" and runs[column].nunique() > 1
    axes.set_xscale("log" if log else "linear")
    sns.boxplot(
        enough, y="method", x=column, order=methods, hue="method", palette=colour, legend=False, ax=axes, width=0.62,
        fliersize=0, linewidth=0.8, linecolor="#333333", boxprops={"alpha": 0.55}, log_scale=log,
    )  # fmt: skip
    _points(axes, runs, methods, colour, column)
    if log:
        plain_log(axes.xaxis)
    axes.set(xlabel=words, ylabel="")
    axes.set_yticks(range(len(methods)), [label(method) for method in methods])
    axes.grid(axis="y", visible=False)
    if numbers:
        _print_numbers(axes, runs, methods, column)


def _points(
    axes: Axes, runs: pd.DataFrame, methods: Sequence[str], colour: dict[str, str], column: str
) -> None:
    """Spread the runs evenly across their box, so that the figure is deterministic."""
    for place, method in enumerate(methods):
        values = runs.loc[runs["method"] == method, column].dropna().to_numpy()
        spread = place + np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [place] * len(values)
        axes.scatter(values, spread, s=5, color=colour[method], edgecolors="white", linewidths=0.3, zorder=4)


def _print_numbers(axes: Axes, runs: pd.DataFrame, methods: Sequence[str], column: str) -> None:
    """Write maximum and median next to each box, as in the paper."""
    for place, method in enumerate(methods):
        values = runs.loc[runs["method"] == method, column].dropna()
        if len(values):
            axes.annotate(
                f"{values.max():.3f} / {values.median():.3f}", (1.01, place), xycoords=("axes fraction", "data"),
                va="center", fontsize="small", annotation_clip=False,
            )  # fmt: skip
    axes.annotate("max / median", (1.01, 1.01), xycoords="axes fraction", fontsize="small", va="bottom")
