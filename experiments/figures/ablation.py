"""Ablations, one change at a time."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import OTHERS, PAPER, STYLE, legend, measures, new_figure, plain_log

LOOKS: dict[str, dict[str, Any]] = {
    "float32": {"color": PAPER["pal"], "ls": "-", "marker": "o"},
    "bfloat16": {"color": PAPER["cocob"], "ls": "--", "marker": "s"},
}
ROWS = (
    ("final_train_loss", "final training loss\n(with L2 term)", "log"),
    ("final_val_accuracy", "final validation\naccuracy", "linear"),
    ("normal_fraction", "fraction of steps in\nthe normal case", "linear"),
)
DIVERGED: dict[str, Any] = {"color": "#d62728", "marker": "x", "ls": "", "ms": 6, "mew": 1.5}


@mpl.rc_context(STYLE)
def measuring_step(runs: pd.DataFrame) -> Figure:
    """Results of plain PAL over mu for each dtype: trainings as points, their mean as a line.

    Runs that diverged are crosses at the lower end. Problems with a single mu are omitted.
    """
    runs = runs[runs["part"] == "mu"]
    counts = runs.groupby("problem")["mu"].nunique()
    problems = sorted(counts.index[counts > 1])
    words, width = [row[1] for row in ROWS], max(3.6, 2.9 * len(problems) + 0.7)
    x = "mu (distance in weight space)"
    figure, grid = measures(problems, words, x, 1.6, width, sharex="col")
    for column, problem in enumerate(problems):
        for axes, (name, _, scale) in zip(grid[:, column], ROWS, strict=True):
            _sweeps(axes, runs[runs["problem"] == problem], name)
            axes.set(xscale="log", yscale=scale)
            if scale == "log":
                plain_log(axes.yaxis)
        grid[-1, column].set_ylim(-0.05, 1.05)
    looks = {name: LOOKS[name] | {"ms": 3} for name in LOOKS if name in set(runs["dtype"])}
    legend(figure, looks | ({"diverged": DIVERGED} if (runs["status"] == "diverged").any() else {}))
    return figure


def _sweeps(axes: Axes, runs: pd.DataFrame, name: str) -> None:
    for dtype, look in LOOKS.items():
        of_type = runs[runs["dtype"] == dtype]
        whole, broken = (of_type[(of_type["status"] == "diverged") == wanted] for wanted in (False, True))
        means = whole.groupby("mu")[name].mean()
        colour, marker = look["color"], look["marker"]
        axes.plot(whole["mu"], whole[name], color=colour, marker=marker, ls="", ms=3, alpha=0.5, mew=0)
        axes.plot(means.index, means, color=colour, ls=look["ls"])
        axes.plot(broken["mu"], [0.04] * len(broken), transform=axes.get_xaxis_transform(), **DIVERGED)


VARIANTS = {
    "pal-counted-twice": "batch-norm statistics\nupdated twice",
    "pal-new-masks": "new dropout masks\nat the probe",
    "pal-l2-beside": "L2 term outside\nthe searched loss",
    "pal-safeguard": "steps that raise\nthe loss undone",
    "pal-unshuffled": "same data order\nin every epoch",
    "alig-numerator": "ALI-G with 1 in\nplace of the loss",
}
QUANTITIES = {
    "log10_train_loss": "log10 final training loss (with L2 term)",
    "val_accuracy": "final validation accuracy",
    "normal_fraction": "fraction of steps in the normal case",
}


@mpl.rc_context(STYLE)
def variant_effects(differences: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """Each variant minus its reference: pairs as points, their mean with its 95 % interval above."""
    variants = [name for name in VARIANTS if name in set(differences["variant"])]
    problems = sorted(differences["problem"].unique())
    colours = dict(zip(problems, (PAPER["pal"], *OTHERS), strict=False))
    figure, grid = new_figure(
        3.6, len(QUANTITIES) * (0.42 * len(variants) + 0.6) + 0.7, nrows=len(QUANTITIES), squeeze=False
    )
    for axes, (quantity, words) in zip(grid[:, 0], QUANTITIES.items(), strict=True):
        axes.axvline(0, color="#444444", ls="--", lw=1)
        for place, variant in enumerate(variants):
            for rank, problem in enumerate(problems):
                height = place + 0.5 * ((rank + 0.5) / len(problems) - 0.5)
                chosen = (
                    table[
                        (table["quantity"] == quantity)
                        & (table["variant"] == variant)
                        & (table["problem"] == problem)
                    ]
                    for table in (differences, effects)
                )
                _effect(axes, height, colours[problem], *chosen)
        axes.set_yticks(range(len(variants)), [VARIANTS[name] for name in variants], fontsize=7)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.set_xlabel(f"{words},\nvariant minus reference")
        axes.grid(visible=False, axis="y")
    marks = {"one pair of trainings": {"marker": "o", "ms": 3, "ls": "", "alpha": 0.6}}
    marks |= {"mean, 95 % interval": {"marker": "D", "ms": 4, "lw": 1.5}}
    looks = {name: {"color": "#444444"} | look for name, look in marks.items()}
    if len(colours) > 1:
        looks |= {name: {"color": colour, "lw": 3} for name, colour in colours.items()}
    legend(figure, looks, columns=1)
    return figure


def _effect(axes: Axes, height: float, colour: str, pairs: pd.DataFrame, mean: pd.DataFrame) -> None:
    axes.plot(pairs["difference"], [height + 0.12] * len(pairs), "o", color=colour, ms=3, alpha=0.5, mew=0)
    axes.hlines([height - 0.06] * len(mean), mean["low"], mean["high"], color=colour, lw=1.5)
    axes.plot(mean["mean"], [height - 0.06] * len(mean), "D", color=colour, ms=4)
