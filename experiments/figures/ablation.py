"""Ablations, one change at a time."""

import itertools
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.measures import quality, scale
from experiments.figures.style import OTHERS, PAPER, legend, measures, new_figure, set_y_scale, styled

LOOKS: dict[str, dict[str, Any]] = {
    "float32": {"color": PAPER["pal"], "ls": "-", "marker": "o"},
    "bfloat16": {"color": PAPER["cocob"], "ls": "--", "marker": "s"},
}


def _rows(runs: pd.DataFrame) -> tuple[tuple[str, str, str], ...]:
    """Column, label and scale of each row."""
    measure = quality(runs)
    return (
        ("final_train_loss", "final training loss\n(with L2 term)", scale(runs["final_train_loss"])),
        (measure.final, f"final validation\n{measure.name}", "log" if measure.low else "linear"),
        ("normal_fraction", "fraction of steps in\nthe normal case", "linear"),
    )


DIVERGED: dict[str, Any] = {"color": "#d62728", "marker": "x", "ls": "", "ms": 6, "mew": 1.5}


@styled
def measuring_step(runs: pd.DataFrame) -> Figure:
    """Results of plain PAL over mu for each dtype: trainings as points, their mean as a line.

    Runs that diverged are crosses at the lower end. Problems with a single mu are omitted.
    """
    runs = runs[runs["part"] == "mu"]
    counts = runs.groupby("problem")["mu"].nunique()
    problems = sorted(counts.index[counts > 1])
    rows = _rows(runs)
    words, width = [row[1] for row in rows], max(3.6, 2.9 * len(problems) + 0.7)
    x = "mu (distance in weight space)"
    figure, grid = measures(problems, words, x, 1.6, width, sharex="col")
    for column, problem in enumerate(problems):
        for axes, (name, _, row_scale) in zip(grid[:, column], rows, strict=True):
            _sweeps(axes, runs[runs["problem"] == problem], name)
            axes.set_xscale("log")
            set_y_scale(axes, row_scale)
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
"""Labels of the variants in the repository; others have their names."""

QUANTITIES = {
    "log10_train_loss": "log10 final training loss (with L2 term)",
    "val_accuracy": "final validation accuracy",
    "val_loss": "final validation loss",
    "normal_fraction": "fraction of steps in the normal case",
}
"""What is compared; the validation loss only where accuracy is not defined."""


@styled
def variant_effects(differences: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """Each variant minus its reference: pairs as points, their mean with its 95 % interval above."""
    labels = _labels(differences)
    differences, effects = (table.assign(variant=_names(table)) for table in (differences, effects))
    variants, problems = list(labels), sorted(differences["problem"].unique())
    colours = dict(zip(problems, itertools.cycle((PAPER["pal"], *OTHERS)), strict=False))
    quantities = _measured(differences)
    height = max(1, len(quantities)) * (0.42 * max(1, len(variants)) + 0.6) + 0.7
    figure, grid = new_figure(3.6, height, nrows=max(1, len(quantities)), squeeze=False)
    for axes, (quantity, words) in zip(grid[:, 0], quantities.items(), strict=False):
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
        axes.set_yticks(range(len(variants)), labels.values(), fontsize="small")
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


def _names(table: pd.DataFrame) -> pd.Series:
    """Variant and reference as one name, which pairs of different references do not share."""
    return table["variant"] + " " + table["reference"]


def _labels(differences: pd.DataFrame) -> dict[str, str]:
    """The label of each variant: the known ones in their order, then the others with their references."""
    pairs = differences[["variant", "reference"]].drop_duplicates().sort_values(["reference", "variant"])
    known = {name: place for place, name in enumerate(VARIANTS)}
    places = pairs["variant"].map(known).fillna(len(known))
    pairs = pairs.assign(place=places).sort_values("place", kind="stable")
    return {
        f"{variant} {reference}": VARIANTS.get(variant, f"{variant}\n(against {reference})")
        for variant, reference in zip(pairs["variant"], pairs["reference"], strict=True)
    }


def _measured(differences: pd.DataFrame) -> dict[str, str]:
    """The quantities that have differences."""
    known = set(differences.dropna(subset=["difference"])["quantity"])
    left_out = {"val_loss"} if "val_accuracy" in known else {"val_accuracy"}
    return {name: words for name, words in QUANTITIES.items() if name in known - left_out}


def _effect(axes: Axes, height: float, colour: str, pairs: pd.DataFrame, mean: pd.DataFrame) -> None:
    axes.plot(pairs["difference"], [height + 0.12] * len(pairs), "o", color=colour, ms=3, alpha=0.5, mew=0)
    axes.hlines([height - 0.06] * len(mean), mean["low"], mean["high"], color=colour, lw=1.5)
    axes.plot(mean["mean"], [height - 0.06] * len(mean), "D", color=colour, ms=4)
