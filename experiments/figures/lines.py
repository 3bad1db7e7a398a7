"""Measured lines, and their shape over the training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import legend, measures, panels, styled

MEASURED = {"measured": {"color": "#1f5fbf", "lw": 2}}
STEP = {"PAL's step": {"color": "#d62728", "lw": 1}}


@styled
def loss_lines(lines: pd.DataFrame, points: pd.DataFrame, problem: str) -> Figure:
    """Measured batch losses along the search direction, with PAL's parabola and step (the paper's first figure)."""
    figure = _panels(lines, points, problem, "near", _with_parabola)
    figure.suptitle(f"{problem}: batch losses along PAL's direction")
    looks = MEASURED | {
        "PAL's parabola": {"color": "#ff7f0e", "ls": "--"},
        "slope": {"color": "#2ca02c", "ls": ":"},
        "l(0), l(mu)": {"color": "#111111", "marker": "x", "ls": ""},
    }
    legend(figure, looks | STEP, 5)
    return figure


@styled
def wide_lines(lines: pd.DataFrame, points: pd.DataFrame, problem: str) -> Figure:
    """The same lines over a wider range, where the parabola no longer describes them."""
    figure = _panels(lines, points, problem, "wide", lambda *_: None)
    figure.suptitle(f"{problem}: the same lines, to ten times PAL's reach")
    legend(figure, MEASURED | STEP, 2)
    return figure


def _panels(
    lines: pd.DataFrame,
    points: pd.DataFrame,
    problem: str,
    view: str,
    more: Callable[[Axes, pd.DataFrame, pd.Series], None],
) -> Figure:
    """Draw a panel per line: its points, PAL's step, and what `more` adds."""
    points = points[(points["problem"] == problem) & (points["view"] == view)]
    drawn = points.groupby(["mu", "at"])
    figure, shown = panels(len(drawn), 4, 1.75, "batch loss", "distance along -g/||g||")
    for axes, ((mu, at), measured) in zip(shown, drawn, strict=True):
        keys = ["problem", "mu", "seed", "at"]
        line = measured[keys].head(1).merge(lines, on=keys).iloc[0]
        axes.plot(measured["distance"], measured["loss"], color="#1f5fbf", lw=2)
        axes.axvline(line["step"], color="#d62728", lw=1)
        more(axes, measured, line)
        axes.set_title(f"step {at}" if points["mu"].nunique() == 1 else f"step {at}, mu {mu:g}", pad=3)
        axes.tick_params(labelsize="small")
        axes.locator_params(nbins=4)
    return figure


def _with_parabola(axes: Axes, measured: pd.DataFrame, line: pd.Series) -> None:
    distances = measured["distance"].to_numpy()
    parabola = line["curvature"] / 2 * distances**2 + line["slope"] * distances + line["loss0"]
    near = np.abs(distances) <= 0.4 * distances.max()
    tangent = line["slope"] * distances[near] + line["loss0"]
    axes.plot(distances, parabola, color="#ff7f0e", ls="--", lw=1.3)
    axes.plot(distances[near], tangent, color="#2ca02c", ls=":", lw=1.3)
    axes.plot(
        [0, line["mu"]], [line["loss0"], line["loss_mu"]], "x", color="#111111", ms=5, mew=1.3, zorder=5
    )
    low, high = measured["loss"].min(), measured["loss"].max()
    low = min(low, parabola.min()) if parabola.min() > low - (high - low) else low
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))


FITS = (
    ("linear_error", "best line", "#999999", ":"),
    ("pal_error", "PAL's parabola", "#ff7f0e", "--"),
    ("quadratic_error", "best parabola", "#1f5fbf", "-"),
)


@styled
def fit_errors(lines: pd.DataFrame) -> Figure:
    """Mean absolute error of fits within 0.2 of the weights over the training: lines as points, and running medians."""
    problems = sorted(lines["problem"].unique())
    figure, grid = measures(
        problems, ["mean absolute error\nwithin 0.2 (loss)"], "training step + 1", 2.2, sharey=True
    )
    for axes, problem in zip(grid[0], problems, strict=True):
        of_problem = lines[lines["problem"] == problem].assign(place=lambda table: table["at"] + 1)
        groups = _neighbours(of_problem)
        for name, _, colour, dash in FITS:
            axes.plot(of_problem["place"], of_problem[name], "o", color=colour, ms=2, alpha=0.25, mew=0)
            axes.plot(groups["place"].median(), groups[name].median(), color=colour, ls=dash, lw=1.8)
        axes.set(xscale="log", yscale="log")
    legend(figure, {words: {"color": colour, "ls": dash} for _, words, colour, dash in FITS})
    return figure


SHAPES = (
    ("hull_distance", "distance from hull\n/ range of the line", False),
    ("log_ratio", "log(parabola's /\nline's minimum)", False),
    ("improvement_fraction", "fraction of possible\ndecrease reached", False),
    ("learning_rate", "learning rate\n(step / ||g||)", True),
)


@styled
def line_shape(lines: pd.DataFrame) -> Figure:
    """Shape of lines and quality of PAL's steps over the whole training: a point per line, and running medians."""
    lines = lines.assign(group=_names(lines))
    problems = sorted(lines["group"].unique())
    words = [row[1] for row in SHAPES]
    figure, grid = measures(problems, words, "training step + 1", 1.45, sharex=True, sharey="row")
    for column, problem in enumerate(problems):
        of_problem = lines[lines["group"] == problem]
        for axes, (name, _, log) in zip(grid[:, column], SHAPES, strict=True):
            _over_training(axes, of_problem, name)
            axes.set(xscale="log", yscale="log" if log else "linear")
        grid[0, column].axhline(CONVEX, color="#444444", ls="--", lw=1)
        grid[1, column].axhline(0.0, color="#444444", ls="--", lw=1)
    reached = lines["improvement_fraction"].dropna()
    lowest = max(-1.0, reached.quantile(0.01) - 0.05)
    grid[2, 0].set_ylim(lowest, 1.05)
    outside = int((reached < lowest).sum())
    looks = {
        "one line": {"color": "#1f5fbf", "marker": "o", "ms": 3, "ls": "", "alpha": 0.4},
        "median of neighbouring lines": {"color": "#111111", "lw": 1.8},
        f"convex below (first row), exact (second); {outside} lines below the third": {
            "color": "#444444",
            "ls": "--",
            "lw": 1,
        },
    }
    legend(figure, looks, 1)
    return figure


CONVEX = 0.01
"""A line with a smaller distance from its convex hull counts as convex (`results.tables.line_shape`)."""


def _names(lines: pd.DataFrame) -> pd.Series:
    """Names of panels: the problem, with mu if it was trained with several."""
    several = lines.groupby("problem")["mu"].transform("nunique") > 1
    return lines["problem"].where(~several, lines["problem"] + "\nmu " + lines["mu"].map("{:g}".format))


def _over_training(axes: Axes, lines: pd.DataFrame, column: str) -> None:
    """Draw points and their median in logarithmic bins of the step."""
    values = lines.assign(place=lines["at"] + 1).dropna(subset=[column])
    if values.empty:
        return
    axes.plot(values["place"], values[column], "o", color="#1f5fbf", ms=2.5, alpha=0.3, mew=0)
    groups = _neighbours(values)
    axes.plot(groups["place"].median(), groups[column].median(), "-o", color="#111111", lw=1.8, ms=3)


@styled
def convexity(table: pd.DataFrame) -> Figure:
    """Fraction of lines that are convex up to a radius: a thin line per training, a thick one for their mean."""
    table = table.assign(group=_names(table))
    problems = sorted(table["group"].unique())
    figure, grid = measures(problems, ["convex lines (fraction)"], "radius / s*", 2.2, sharey=True)
    for axes, problem in zip(grid[0], problems, strict=True):
        of_problem = table[table["group"] == problem]
        for _, of_seed in of_problem.groupby("seed"):
            axes.plot(of_seed["radius"], of_seed["convex_fraction"], color="#1f5fbf", lw=0.8, alpha=0.4)
        means = of_problem.groupby("radius")["convex_fraction"].mean()
        axes.plot(means.index, means, "-o", color="#111111", lw=1.8, ms=3)
        axes.set(xscale="log", ylim=(-0.03, 1.03))
    looks = {
        "one training": {"color": "#1f5fbf", "lw": 0.8},
        "mean over trainings": {"color": "#111111", "lw": 1.8},
    }
    legend(figure, looks, 2)
    return figure


def _neighbours(lines: pd.DataFrame) -> Any:
    """Group lines into 12 logarithmic bins of the step."""
    edges = np.geomspace(1, lines["place"].max() + 1, 13)
    return lines.groupby(np.digitize(lines["place"], edges))
