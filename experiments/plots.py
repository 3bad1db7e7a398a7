"""Tables -> figures. Drawing only: data frames come in, figures go out, and nothing here knows torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

PAPER = {
    "pal": "#1f5fbf",
    "sgd": "#8c564b",
    "adam": "#7b3fb5",
    "rmsprop": "#111111",
    "sls": "#d62728",
    "sgdhd": "#2ca02c",
    "alig": "#17a2b8",
    "cocob": "#ff7f0e",
}
"""The paper's colours; a schedule is a dash, so that colour never says it alone."""

OTHERS = (
    "#e377c2",
    "#7f7f7f",
    "#a07d00",
    "#5b8a72",
    "#b56576",
    "#3d5a80",
    "#9a8c98",
    "#6a994e",
    "#bc6c25",
    "#577590",
)
LABELS = {
    "pal": "PAL",
    "sgd": "SGD",
    "adam": "ADAM",
    "rmsprop": "RMSProp",
    "sls": "SLS",
    "sgdhd": "SGD-HD",
    "alig": "ALI-G",
    "cocob": "COCOB",
    "sgd-step": "SGD, schedule",
    "adam-step": "ADAM, schedule",
    "rmsprop-step": "RMSProp, schedule",
    "exact": "exact search",
    "rmsprop-tf": "RMSProp (TensorFlow)",
    "adamw": "AdamW",
    "sgd-cosine": "SGD, cosine",
    "prodigy": "Prodigy",
    "schedulefree-sgd": "schedule-free SGD",
    "schedulefree-adamw": "schedule-free AdamW",
    "lbfgs": "L-BFGS",
    "labpal": "LABPAL",
    "qlabgrad": "QLABGrad",
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


def save(figure: Figure, path: Path) -> list[Path]:
    """Write PNG and PDF beside each other, without dates: the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".png"), path.with_suffix(".pdf")]
    figure.savefig(files[0], metadata={"Software": None})
    figure.savefig(files[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return files


def label(entry: str) -> str:
    """How figures call a competitor."""
    return LABELS.get(entry, entry)


def colours(entries: Iterable[str]) -> dict[str, str]:
    """The paper's colours for the paper's optimizers, with or without schedule; further ones for the others."""
    names = sorted(set(entries))
    further = iter(OTHERS * (len(names) // len(OTHERS) + 1))
    found = {name: PAPER.get(name.removesuffix("-step")) for name in names}
    return {name: colour or next(further) for name, colour in found.items()}


def in_order(entries: Iterable[str]) -> list[str]:
    """PAL first, then the paper's optimizers, each before its schedule, then the others."""
    order = list(PAPER)
    known = {name: place for place, name in enumerate(order)}
    return sorted(set(entries), key=lambda name: (known.get(name.removesuffix("-step"), len(order)), name))


def _figure(width: float, height: float, **layout: Any) -> tuple[Figure, Any]:
    """A figure of its own, outside pyplot's list of open ones."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(**layout)


# -- the benchmark -----------------------------------------------------------------------------------------------

CURVES = (
    ("train_loss", "training loss", "training loss\n(with L2 term)", True),
    ("val_accuracy", "validation accuracy", "validation\naccuracy", False),
    ("learning_rate", "training loss", "learning rate\n(step / ||d||)", True),
)
"""Column, criterion by which the setting is chosen, label, logarithmic."""


@mpl.rc_context(STYLE)
def comparison(runs: pd.DataFrame, curves: pd.DataFrame, best: pd.DataFrame, problem: str) -> Figure:
    """The paper's main figure for one problem.

    Left: training loss, validation accuracy and learning rate of each competitor's best setting, mean over seeds (the
    setting with the lowest training loss; in the second row that with the highest validation accuracy).
    Right: every run of every setting, as boxes.
    """
    runs, curves, best = (table[table["problem"] == problem] for table in (runs, curves, best))
    entries = in_order(runs["entry"])
    colour = colours(entries)
    figure, axes = _figure(7.2, 2.5 + 0.34 * 2 * len(entries), nrows=3, ncols=2, width_ratios=(1.25, 1))
    for row, (column, criterion, words, log) in enumerate(CURVES):
        _curves(axes[row, 0], curves, best[best["criterion"] == criterion], entries, colour, column)
        axes[row, 0].set(xlabel="step", ylabel=words, yscale="log" if log else "linear")
    _from_the_median(axes[1, 0], curves, "val_accuracy")
    _boxes(
        axes[0, 1], runs, entries, colour, "min_train_loss", "lowest training loss, all settings", log=True
    )
    _boxes(
        axes[1, 1], runs, entries, colour, "best_val_accuracy", "highest validation accuracy, all settings"
    )
    _boxes(axes[2, 1], runs, entries, colour, "test_accuracy", "test accuracy, all settings", numbers=True)
    figure.suptitle(f"{problem}: best setting of each optimizer (left) and all settings (right)", fontsize=10)
    figure.legend(
        handles=[_handle(entry, colour) for entry in entries],
        loc="outside lower center",
        ncols=min(4, len(entries)),
    )
    return figure


def _handle(entry: str, colour: dict[str, str]) -> Line2D:
    return Line2D([], [], color=colour[entry], label=label(entry), **_line(entry))


def _line(entry: str) -> dict[str, Any]:
    """PAL in front; schedules dashed; what the paper does not have dotted."""
    known = entry.removesuffix("-step") in PAPER
    dash = "--" if entry.endswith("-step") else "-" if known else ":"
    return {
        "linestyle": dash,
        "linewidth": 2.4 if entry == "pal" else 1.3,
        "zorder": 5 if entry == "pal" else 3,
    }


def _curves(
    axes: Axes,
    curves: pd.DataFrame,
    chosen: pd.DataFrame,
    entries: Sequence[str],
    colour: dict[str, str],
    column: str,
) -> None:
    """Mean over seeds of each competitor's chosen setting; PAL with the range of its seeds."""
    shown = curves.merge(chosen[["entry", "setting"]], on=["entry", "setting"])
    for entry in entries:
        values = shown[shown["entry"] == entry].groupby("step")[column].agg(["mean", "min", "max"])
        axes.plot(values.index, values["mean"], color=colour[entry], **_line(entry))
        if entry == "pal":
            axes.fill_between(
                values.index, values["min"], values["max"], color=colour[entry], alpha=0.15, linewidth=0
            )


def _from_the_median(axes: Axes, curves: pd.DataFrame, column: str) -> None:
    """Show accuracies from where they differ: the first evaluations would squeeze the rest."""
    values = curves[column].dropna()
    if len(values):
        low, high = values.quantile(0.05), values.max()
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))


def _boxes(
    axes: Axes,
    runs: pd.DataFrame,
    entries: Sequence[str],
    colour: dict[str, str],
    column: str,
    words: str,
    log: bool = False,
    numbers: bool = False,
) -> None:
    """One horizontal box per competitor over all its runs, with every run as a point."""
    sns.boxplot(
        runs, y="entry", x=column, order=entries, hue="entry", palette=colour, legend=False, ax=axes, width=0.62,
        fliersize=0, linewidth=0.8, linecolor="#333333", boxprops={"alpha": 0.55}, log_scale=log,
    )  # fmt: skip
    _points(axes, runs, entries, colour, column)
    if log:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=words, ylabel="")
    axes.set_yticks(range(len(entries)), [label(entry) for entry in entries])
    axes.grid(axis="y", visible=False)
    if numbers:
        _print_numbers(axes, runs, entries, column)


def _points(
    axes: Axes, runs: pd.DataFrame, entries: Sequence[str], colour: dict[str, str], column: str
) -> None:
    """Every run, spread evenly across its box, so that the figure is the same each time."""
    for place, entry in enumerate(entries):
        values = runs.loc[runs["entry"] == entry, column].dropna().to_numpy()
        spread = place + np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [place]
        axes.scatter(values, spread, s=5, color=colour[entry], edgecolors="white", linewidths=0.3, zorder=4)


def _print_numbers(axes: Axes, runs: pd.DataFrame, entries: Sequence[str], column: str) -> None:
    """Maximum and median beside each box, as in the paper."""
    for place, entry in enumerate(entries):
        values = runs.loc[runs["entry"] == entry, column].dropna()
        if len(values):
            axes.annotate(
                f"{values.max():.3f} / {values.median():.3f}", (1.01, place), xycoords=("axes fraction", "data"),
                va="center", fontsize=7, annotation_clip=False,
            )  # fmt: skip
    axes.annotate("max / median", (1.01, 1.01), xycoords="axes fraction", fontsize=7, va="bottom")


# -- lines -------------------------------------------------------------------------------------------------------


@mpl.rc_context(STYLE)
def loss_lines(lines: pd.DataFrame, points: pd.DataFrame, problem: str) -> Figure:
    """Measured batch losses along the search direction, with what PAL makes of them (the paper's first figure)."""
    points = points[points["problem"] == problem]
    drawn = sorted(points["at"].unique())
    columns = 4
    rows = -(-len(drawn) // columns)
    figure, grid = _figure(7.2, 1.75 * rows + 0.6, nrows=rows, ncols=columns, squeeze=False)
    for axes, at in zip(grid.flat, drawn, strict=False):
        measured = points[points["at"] == at]
        of_line = (
            (lines["problem"] == problem) & (lines["at"] == at) & (lines["seed"] == measured["seed"].iloc[0])
        )
        _loss_line(axes, measured, lines[of_line].iloc[0])
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("batch loss")
    for axes in grid[-1]:
        axes.set_xlabel("distance along -g/||g||")
    figure.suptitle(f"{problem}: batch losses along PAL's direction", fontsize=10)
    handles = [
        Line2D([], [], color="#1f5fbf", lw=2, label="measured"),
        Line2D([], [], color="#ff7f0e", ls="--", label="PAL's parabola"),
        Line2D([], [], color="#2ca02c", ls=":", label="slope"),
        Line2D([], [], color="#111111", marker="x", ls="", label="l(0), l(mu)"),
        Line2D([], [], color="#d62728", lw=1, label="PAL's step"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _loss_line(axes: Axes, measured: pd.DataFrame, line: pd.Series) -> None:
    distances = measured["distance"].to_numpy()
    parabola = line["curvature"] / 2 * distances**2 + line["slope"] * distances + line["loss0"]
    near = np.abs(distances) <= 0.4 * distances.max()
    tangent = line["slope"] * distances[near] + line["loss0"]
    axes.plot(distances, measured["loss"], color="#1f5fbf", lw=2)
    axes.plot(distances, parabola, color="#ff7f0e", ls="--", lw=1.3)
    axes.plot(distances[near], tangent, color="#2ca02c", ls=":", lw=1.3)
    axes.plot(
        [0, line["mu"]], [line["loss0"], line["loss_mu"]], "x", color="#111111", ms=5, mew=1.3, zorder=5
    )
    axes.axvline(line["step"], color="#d62728", lw=1)
    low, high = measured["loss"].min(), measured["loss"].max()
    low = min(low, parabola.min()) if parabola.min() > low - (high - low) else low
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.set_title(f"step {int(line['at'])}", pad=3)
    axes.tick_params(labelsize=7)
    axes.locator_params(nbins=4)


SHAPES = (
    ("locally_convex", "locally convex\n(share of lines)", False),
    ("step_error", "PAL's step, relative\nerror |s - s*| / s*", True),
    ("improvement", "share of possible\ndecrease reached", False),
    ("learning_rate", "learning rate\n(step / ||g||)", True),
)


@mpl.rc_context(STYLE)
def line_shape(lines: pd.DataFrame) -> Figure:
    """How lines and PAL's steps on them change during training: every line a point, the running median a line."""
    problems = sorted(lines["problem"].unique())
    figure, grid = _figure(
        7.2,
        1.45 * len(SHAPES) + 0.7,
        nrows=len(SHAPES),
        ncols=len(problems),
        squeeze=False,
        sharex=True,
        sharey="row",
    )
    for column, problem in enumerate(problems):
        of_problem = lines[lines["problem"] == problem]
        grid[0, column].set_title(problem)
        grid[-1, column].set_xlabel("training step + 1")
        for row, (name, words, log) in enumerate(SHAPES):
            _over_training(grid[row, column], of_problem, name)
            grid[row, column].set(xscale="log", yscale="log" if log else "linear")
            if column == 0:
                grid[row, column].set_ylabel(words)
    grid[0, 0].set_ylim(-0.05, 1.05)
    reached = lines["improvement"].dropna()
    grid[2, 0].set_ylim(max(-0.05, reached.quantile(0.01) - 0.05), 1.05)
    handles = [
        Line2D([], [], color="#1f5fbf", marker="o", ms=3, ls="", alpha=0.4, label="one line"),
        Line2D(
            [], [], color="#111111", lw=1.8, label="median (share in the first row) of neighbouring lines"
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _over_training(axes: Axes, lines: pd.DataFrame, column: str) -> None:
    """Points, and their median (of a yes or no: the mean) in bins of the logarithm of the step."""
    values = lines.assign(place=lines["at"] + 1).dropna(subset=[column])
    if values.empty:
        return
    binary = column == "locally_convex"
    if not binary:
        axes.plot(values["place"], values[column], "o", color="#1f5fbf", ms=2.5, alpha=0.3, mew=0)
    edges = np.geomspace(1, values["place"].max() + 1, 13)
    groups = values.groupby(np.digitize(values["place"], edges))
    middle = groups[column].mean() if binary else groups[column].median()
    axes.plot(groups["place"].median(), middle, "-o", color="#111111", lw=1.8, ms=3)


# -- claims ------------------------------------------------------------------------------------------------------

VERDICTS = {
    "supported": "#1a7f37",
    "contradicted": "#c62828",
    "undecided": "#9a6700",
    "not measured": "#777777",
}


@mpl.rc_context(STYLE)
def verdicts(claims: pd.DataFrame) -> Figure:
    """Each claim's measured value and interval against its threshold, one small axis per claim: units differ."""
    claims = claims[claims["verdict"] != "not measured"]
    figure, grid = _figure(7.2, 0.62 * len(claims) + 0.3, nrows=len(claims), squeeze=False)
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
