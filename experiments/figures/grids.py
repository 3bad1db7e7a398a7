"""Results over a grid: sensitivity to each hyper-parameter, and the learning rates that result."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.labels import label
from experiments.figures.measures import quality
from experiments.figures.style import colours, in_order, panels, set_y_scale, styled, tried

CHANGE = 1e-6
"""Relative change of a learning rate from which on it is no rounding error."""


def swept(runs: pd.DataFrame) -> list[str]:
    """Problems on which any method has several configurations, so that `sensitivity` applies."""
    settings = runs.groupby(["problem", "method"])["setting"].nunique()
    return sorted(settings[settings > 1].index.unique("problem"))


@styled
def sensitivity(runs: pd.DataFrame, problem: str) -> Figure:
    """Final validation accuracy, or loss, over each hyper-parameter for which the grid has several values.

    Each run that selected settings is a point (0, or the highest loss, if it diverged); the line is the mean over seeds
    and all other hyper-parameters. Runs that are far worse than the others are triangles at the end of the axis.
    """
    runs = tried(runs[runs["problem"] == problem])
    measure = quality(runs)
    diverged, values = runs["status"] == "diverged", runs[measure.final].astype(float)
    runs = runs.assign(value=values.mask(diverged, values.max() if measure.low else 0.0))
    sweeps = [
        (method, name, values)
        for method in in_order(runs["method"])
        for name, values in _sweeps(runs[runs["method"] == method])
    ]
    colour = colours(runs["method"])
    ends = (0.0, 0.95) if measure.low else (0.05, 1.0)
    low, high = (float(runs["value"].quantile(end)) for end in ends)
    margin = 0.1 * (high - low)
    figure, grid = panels(len(sweeps), 4, 1.7, f"validation\n{measure.name}", sharey=True)
    for axes, (method, name, values) in zip(grid, sweeps, strict=True):
        reached = runs.loc[values.index, "value"]
        _sweep(axes, reached, values, colour[method])
        _mark(axes, values[reached < low - margin], colour[method], "v", 0.04)
        _mark(axes, values[reached > high + margin], colour[method], "^", 0.96)
        axes.set_title(label(method), pad=3)
        axes.set_xlabel(name)
    if margin > 0:
        grid[0].set_ylim(low - margin, high + margin)
    figure.suptitle(
        f"{problem}: effect of single hyper-parameters (mean over the others; triangles: outside)"
    )
    return figure


def _sweeps(runs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Yield hyper-parameters that have several numerical values, with the value in each run."""
    settings = pd.DataFrame(
        [dict(word.split("=", 1) for word in setting.split()) for setting in runs["setting"]],
        index=runs.index,
    )
    for name in settings:
        numbers = pd.to_numeric(settings[name], errors="coerce")
        if numbers.nunique() > 1 and numbers.notna().all():
            yield str(name), numbers


def _sweep(axes: Axes, reached: pd.Series, values: pd.Series, colour: str) -> None:
    """Draw one panel, with a logarithmic axis if the values span a factor of ten."""
    axes.plot(values, reached, "o", color=colour, ms=3, alpha=0.5, mew=0)
    means = reached.groupby(values).mean()
    axes.plot(means.index, means, "-", color=colour)
    if values.min() > 0 and values.max() >= 10 * values.min():
        axes.set_xscale("log")
    axes.set_xticks(
        sorted(values.unique()), [f"{value:g}" for value in sorted(values.unique())], fontsize="small"
    )
    axes.minorticks_off()
    axes.margins(x=0.2)


def _mark(axes: Axes, values: pd.Series, colour: str, marker: str, height: float) -> None:
    """Mark results outside of the visible range at an end of the axis."""
    at_the_end = axes.get_xaxis_transform()
    axes.plot(
        values, [height] * len(values), marker, color=colour, ms=5, alpha=0.7, mew=0, transform=at_the_end
    )


@styled
def schedules(curves: pd.DataFrame, problem: str) -> Figure:
    """Learning rates (step / ||d||) of methods that determine them: one line per run, means between evaluations.

    These are the methods without schedule in which the learning rate of a run changes.
    """
    curves = curves[curves["problem"] == problem]
    methods = [method for method in in_order(curves["method"]) if _adapts(curves[curves["method"] == method])]
    colour = colours(curves["method"])
    figure, grid = panels(max(1, len(methods)), 3, 2.2, "learning rate\n(step / ||d||)", "step")
    for axes, method in zip(grid, methods, strict=False):
        for _, run in curves[curves["method"] == method].groupby(["setting", "seed"]):
            rates = run["learning_rate"].where(run["learning_rate"] > 0, np.nan)
            axes.plot(run["step"], rates, color=colour[method], lw=1, alpha=0.7)
        axes.set_title(label(method))
        set_y_scale(axes, "log")
    figure.suptitle(f"{problem}: resulting learning rates, all configurations and seeds")
    return figure


def _adapts(curves: pd.DataFrame) -> bool:
    rates = curves["learning_rate"].where(np.isfinite(curves["learning_rate"]))
    runs = rates.groupby([curves["setting"], curves["seed"]])
    changed = runs.max() - runs.min() > CHANGE * runs.max().abs()
    return bool(changed.any()) and bool((curves["schedule"] == "none").all())
