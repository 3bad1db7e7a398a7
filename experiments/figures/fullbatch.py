"""Batch loss and full-batch loss: lines, and strategies on them."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import PAPER, legend, measures, panels, styled

STRATEGIES = {
    "optimum": ("full-batch optimum", "#222222", "-", "*"),
    "pal-full": ("PAL on the full batch", "#17a2b8", "--", "D"),
    "sgd-0.05": ("SGD, 0.05", "#c49a6c", "-.", "v"),
    "pal": ("PAL", PAPER["pal"], "-", "o"),
    "exact": ("exact batch minimum", "#d62728", "-", "s"),
    "sgd-0.1": ("SGD, 0.1", PAPER["sgd"], ":", "^"),
}
"""Label, colour, dash and marker of each strategy, in the published order."""

BATCH, FULL = "#9a9a9a", "#1a7f37"

ROWS = (
    ("cumulative_improvement", "cumulative decrease of\nthe full-batch loss", "linear"),
    ("cumulative_distance", "cumulative distance\nto the optimum", "log"),
    ("step", "step (distance),\nmedian of neighbours", "linear"),
)
"""Column, label and scale."""


@styled
def fullbatch_strategies(strategies: pd.DataFrame, problem: str) -> Figure:
    """The strategies over the training of one problem: means over seeds with standard errors, a column per momentum."""
    shown = strategies[strategies["problem"] == problem]
    momenta = sorted(shown["momentum"].unique())
    titles = [f"SGD with momentum {momentum:g}" for momentum in momenta]
    words = [row[1] for row in ROWS]
    figure, grid = measures(titles, words, "training step", 2.2, sharex=True, sharey="row")
    for column, momentum in enumerate(momenta):
        lines = shown[shown["momentum"] == momentum]
        for axes, (name, _, scale) in zip(grid[:, column], ROWS, strict=True):
            axes.set_yscale(scale)
            _over_training(axes, lines, name)
    figure.suptitle(
        f"{problem}: strategies on the same lines, compared by the full-batch loss (mean of the seeds ± s.e.)"
    )
    _legend(figure, {})
    return figure


def _over_training(axes: Axes, lines: pd.DataFrame, name: str) -> None:
    """Draw the mean over seeds of each strategy, and its standard error."""
    for strategy, (_, colour, dash, _) in STRATEGIES.items():
        if (strategy, name) == ("optimum", "cumulative_distance"):
            continue  # it is 0
        values = lines[lines["strategy"] == strategy].pivot_table(name, "at", "seed")
        if name == "step":
            values = values.rolling(max(1, len(values) // 10), center=True, min_periods=1).median()
        mean, error = values.mean(axis=1), values.sem(axis=1).fillna(0.0)
        width = 2.2 if strategy == "pal" else 1.5
        axes.plot(values.index, mean, color=colour, linestyle=dash, lw=width)
        axes.fill_between(values.index, mean - error, mean + error, color=colour, alpha=0.12, lw=0)


def _legend(figure: Figure, more: dict[str, dict[str, Any]]) -> None:
    """Name the strategies: by markers, with the curves that have them, or by lines."""
    looks = {
        name: {"color": colour} | ({"marker": marker, "ls": "", "ms": 5} if more else {"ls": dash, "lw": 1.8})
        for name, colour, dash, marker in STRATEGIES.values()
    }
    legend(figure, more | looks, 4 if more else 3)


@styled
def fullbatch_lines(strategies: pd.DataFrame, points: pd.DataFrame, problem: str) -> Figure:
    """Some lines of one problem: loss of the batch that defines the direction, full-batch loss, and steps."""
    points = points[points["problem"] == problem]
    groups = [
        (momentum, at, group) for (momentum, at), group in points.groupby(["momentum", "at"], sort=True)
    ]
    figure, shown = panels(len(groups), 4, 1.75, "loss", "distance along d/||d||")
    for axes, (momentum, at, measured) in zip(shown, groups, strict=True):
        of_line = (strategies["problem"] == problem) & (strategies["seed"] == measured["seed"].iloc[0])
        of_line &= (strategies["momentum"] == momentum) & (strategies["at"] == at)
        _line(axes, measured, strategies[of_line])
        axes.set_title(f"step {at}, momentum {momentum:g}", pad=3, fontsize="small")
    figure.suptitle(f"{problem}: batch loss and full-batch loss along SGD's direction")
    _legend(figure, {"batch loss": {"color": BATCH, "lw": 1.6}, "full-batch loss": {"color": FULL, "lw": 2}})
    return figure


def _line(axes: Axes, measured: pd.DataFrame, steps: pd.DataFrame) -> None:
    """Draw both curves near the steps, which are marked on the full-batch loss."""
    steps = steps.set_index("strategy")
    reach = 1.5 * steps["step"].abs().max()
    near = measured[measured["distance"].between(-0.6 * reach, 1.4 * reach)]
    if len(near) < 5:
        near = measured.iloc[np.argsort(measured["distance"].abs().to_numpy())[:5]].sort_values("distance")
    axes.plot(near["distance"], near["batch"], color=BATCH, lw=1.6)
    axes.plot(near["distance"], near["full"], color=FULL, lw=2)
    start = float(np.interp(0.0, measured["distance"], measured["full"]))
    for strategy, (_, colour, _, marker) in STRATEGIES.items():
        step, improvement = steps.loc[strategy, ["step", "improvement"]].to_numpy(dtype=float)
        axes.plot(
            step, start - improvement, marker, color=colour, ms=4.5, mew=0.4, mec="white",
            zorder=6 if strategy == "optimum" else 5,
        )  # fmt: skip
    axes.axvline(0, color="#bbbbbb", lw=0.8, zorder=1)
    axes.tick_params(labelsize="small")
    axes.locator_params(nbins=4)
