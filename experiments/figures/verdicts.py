"""Measured values, intervals and thresholds of the claims."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.style import PAGE, STYLE, new_figure

VERDICTS = {
    "supported": "#1a7f37",
    "contradicted": "#c62828",
    "undecided": "#9a6700",
    "not measured": "#777777",
}


@mpl.rc_context(STYLE)
def verdicts(claims: pd.DataFrame) -> Figure:
    """Measured value and interval of each claim with its threshold, one small panel per claim, since units differ."""
    claims = claims[claims["verdict"] != "not measured"]
    figure, grid = new_figure(PAGE, 0.62 * len(claims) + 0.3, nrows=len(claims), squeeze=False)
    for axes, (_, claim) in zip(grid[:, 0], claims.iterrows(), strict=True):
        colour = VERDICTS[claim["verdict"]]
        axes.axvline(claim["threshold"], color="#999999", lw=1, ls="--")
        axes.plot([claim["low"], claim["high"]], [0, 0], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(claim["measured"], 0, "o", color=colour, ms=6)
        axes.set(yticks=[], ylim=(-1, 1))
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.25)
        axes.tick_params(labelsize=7)
        axes.set_ylabel(claim["id"], rotation=0, ha="right", va="center")
        axes.annotate(claim["verdict"], (1.01, 0.5), xycoords="axes fraction", color=colour, va="center")
    figure.suptitle("measured value and 95 % interval; dashed: the threshold of the claim", fontsize=9)
    return figure
