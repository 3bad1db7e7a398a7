"""Training with exact line searches, PAL and SGD."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.measures import quality, scale
from experiments.figures.style import OTHERS, PAPER, legend, measures, set_y_scale, styled

LOOKS = {
    "pal": {"color": PAPER["pal"], "ls": "-", "lw": 2.2},
    "pal-exact-alpha": {"color": PAPER["pal"], "ls": ":"},
    "pal-adapted": {"color": PAPER["pal"], "ls": "--"},
    "exact": {"color": PAPER["sls"], "ls": "-"},
    "exact-adapted": {"color": PAPER["sls"], "ls": "--"},
    "sgd": {"color": PAPER["sgd"], "ls": "-"},
}
WORDS = {
    "pal": "PAL",
    "pal-exact-alpha": "PAL, most exact alpha",
    "pal-adapted": "PAL, direction adaptation",
    "exact": "exact search",
    "exact-adapted": "exact search, direction adaptation",
    "sgd": "SGD",
}


def _rows(curves: pd.DataFrame) -> tuple[tuple[str, str, str], ...]:
    """Column, label and scale of each row."""
    measure = quality(curves)
    return (
        ("train_loss", "training loss\n(with L2 term)", scale(curves["train_loss"])),
        (measure.curve, f"validation\n{measure.name}", "log" if measure.low else "linear"),
        ("step_size", "step (distance\nin weight space)", "log"),
        ("learning_rate", "learning rate\n(step / ||d||)", "log"),
    )


@styled
def exact_training(curves: pd.DataFrame) -> Figure:
    """Training loss, validation accuracy, step and learning rate: mean over seeds, with their range.

    SGD's steps are not drawn, since it does not record their length.
    """
    problems = sorted(curves["problem"].unique())
    rows = _rows(curves)
    figure, grid = measures(problems, [row[1] for row in rows], "step", 1.6, sharex="col")
    methods = [*(name for name in LOOKS if name in set(curves["method"])), *_others(curves)]
    looks = {
        name: LOOKS.get(name, {"color": OTHERS[place % len(OTHERS)]}) for place, name in enumerate(methods)
    }
    for column, problem in enumerate(problems):
        of_problem = curves[curves["problem"] == problem]
        for axes, (name, _, row_scale) in zip(grid[:, column], rows, strict=True):
            for method in methods:
                values = (
                    of_problem[of_problem["method"] == method]
                    .groupby("step")[name]
                    .agg(["mean", "min", "max"])
                )
                axes.plot(values.index, values["mean"], **looks[method])
                axes.fill_between(
                    values.index, values["min"], values["max"], color=looks[method]["color"], alpha=0.12, lw=0
                )
            set_y_scale(axes, row_scale)
    legend(figure, {WORDS.get(method, method): looks[method] for method in methods})
    return figure


def _others(curves: pd.DataFrame) -> list[str]:
    return sorted(set(curves["method"]) - set(LOOKS))
