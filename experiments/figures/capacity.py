"""PAL's learning rate for networks that can or cannot fit their data."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter

from experiments.figures.style import OTHERS, PAGE, PAPER, legend, new_figure, plain_log, styled

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of the networks, by number of weights."""
DASHES = ((0, (1, 1)), ":", "-.", "--", (0, (6, 1)), "-")
"""Dashes of the numbers of images; most images have a solid line."""


@styled
def capacity_rates(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Learning rate over the training: a panel per network, colour by final training loss, dash by number of images.

    All trainings are drawn over the same width, whatever number of steps their epochs have.
    """
    networks = list(runs.sort_values("weights")["problem"].unique())
    images = sorted(runs["images"].unique())
    dashes = {count: DASHES[-1 - place % len(DASHES)] for place, count in enumerate(reversed(images))}
    figure, grid = new_figure(PAGE, 2.9, ncols=len(networks), squeeze=False, sharey=True, sharex=True)
    norm, colours = _losses(runs)
    for axes, problem in zip(grid[0], networks, strict=True):
        of_problem = runs[runs["problem"] == problem]
        for row in of_problem.to_dict("records"):
            matches = (curves["problem"] == problem) & (curves["images"] == row["images"])
            curve = curves[matches & (curves["seed"] == row["seed"])]
            axes.plot(
                curve["step"] / curve["step"].max(),
                curve["learning_rate"],
                color=colours(norm(row["final_train_loss"])),
                ls=dashes[row["images"]],
                lw=1.5,
            )
        axes.set(yscale="log", xlabel="fraction of the training")
        axes.set_title(f"{problem}\n{of_problem['weights'].iloc[0]:,} weights", fontsize="small")
    plain_log(grid[0, 0].yaxis)
    grid[0, 0].set_ylabel("PAL's learning rate\n(step / ||g||)")
    looks = {f"{count:,} images": {"color": "#444444", "ls": dashes[count]} for count in images}
    legend(figure, looks, 3)
    scale = ScalarMappable(norm, colours)
    bar = figure.colorbar(scale, ax=grid[0].tolist(), label="final training loss", pad=0.02)
    plain_log(bar.ax.yaxis)
    return figure


def _losses(runs: pd.DataFrame) -> tuple[LogNorm, Colormap]:
    """Colours of final training losses, without the lightest, which would be invisible on white."""
    known = runs["final_train_loss"].dropna()
    colours = mpl.colormaps["viridis"].resampled(256)
    shown = ListedColormap(colours(np.linspace(0, 0.88, 256)))
    return LogNorm(known.min(), known.max() * (1 + 1e-9)), shown


PANELS = (
    ("rate_ratio", "final learning rate /\nhighest learning rate", 1.0, "linear"),
    ("gap", "batch minimum minus\nfull-batch minimum (distance)", 0.0, "symlog"),
    ("overshoot", "the same, as fraction of the\nway to the batch minimum", 0.0, "linear"),
)
"""Column, label, value without decrease or overshoot, scale."""

NEAR = 0.1
"""Distances up to here are drawn on a linear scale."""
TICKS = (-1, -0.5, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


@styled
def capacity_loss(runs: pd.DataFrame) -> Figure:
    """The quantities of the claims over the final training loss, one point per training."""
    networks = list(runs.sort_values("weights")["problem"].unique())
    images = sorted(runs["images"].unique())
    marker = dict(zip(networks, MARKERS * len(networks), strict=False))
    colour = dict(zip(images, (PAPER["pal"], PAPER["sls"], *OTHERS) * len(images), strict=False))
    figure, grid = new_figure(PAGE, 3.3, ncols=len(PANELS), squeeze=False)
    for axes, (name, words, level, scale) in zip(grid[0], PANELS, strict=True):
        axes.axhline(level, color="#bbbbbb", lw=0.8, zorder=1)
        for row in runs.to_dict("records"):
            look = {"marker": marker[row["problem"]], "color": colour[row["images"]]}
            axes.plot(
                row["final_train_loss"], row[name], ls="", ms=6, mew=0, alpha=0.8, clip_on=False, **look
            )
        axes.set(xscale="log", xlabel="final training loss", ylabel=words)
        plain_log(axes.xaxis)
        if scale == "symlog":
            axes.set_yscale(scale, linthresh=NEAR)
            axes.yaxis.set_major_locator(FixedLocator(TICKS))
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    looks = {name: {"color": "#444444", "marker": marker[name], "ls": ""} for name in networks}
    looks |= {f"{count:,} images": {"color": colour[count], "marker": "o", "ls": ""} for count in images}
    legend(figure, looks)
    return figure
