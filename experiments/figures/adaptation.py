"""PAL's step and the minimum of its line, over alpha."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.style import PAPER, legend, measures, set_y_scale, styled

ROWS = (
    ("median_angle", "angle of gradients\nbefore and after\nthe step (degrees)", 90.0, "linear"),
    ("median_step_error", "relative distance\nto the minimum\n|s - s*| / s*", None, "linear"),
    ("final_train_loss", "final training loss", None, "log"),
    ("final_val_accuracy", "final validation\naccuracy", None, "linear"),
)
"""Column, label, value at the minimum of the line, scale."""


@styled
def step_adaptation(runs: pd.DataFrame) -> Figure:
    """Exactness of the step and results for each alpha: trainings as points, their mean as a line."""
    problems = sorted(runs["problem"].unique())
    words = [row[1] for row in ROWS]
    figure, grid = measures(problems, words, "alpha (1: minimum of the parabola)", 1.75, sharex=True)
    for column, problem in enumerate(problems):
        of_problem = runs[runs["problem"] == problem]
        for axes, (name, _, minimum, scale) in zip(grid[:, column], ROWS, strict=True):
            means = of_problem.groupby("alpha")[name].mean()
            axes.plot(of_problem["alpha"], of_problem[name], "o", color=PAPER["pal"], ms=3, alpha=0.5, mew=0)
            axes.plot(means.index, means, "-", color=PAPER["pal"])
            if minimum is not None:
                axes.axhline(minimum, color="#444444", ls="--", lw=1)
            set_y_scale(axes, scale)
    looks = {
        "one training": {"color": PAPER["pal"], "marker": "o", "ms": 3, "ls": "", "alpha": 0.6},
        "mean over seeds": {"color": PAPER["pal"]},
        "the minimum of the line": {"color": "#444444", "ls": "--", "lw": 1},
    }
    legend(figure, looks)
    return figure
