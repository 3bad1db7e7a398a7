"""Training of networks that can or cannot fit all data exactly."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.common.labels import label
from experiments.figures.style import colours, in_order, legend, panels, styled


@styled
def interpolation(curves: pd.DataFrame) -> Figure:
    """Training loss of each optimizer's best configuration: geometric mean over seeds with their range, per problem."""
    problems = sorted(curves["problem"].unique())
    figure, grid = panels(len(problems), 3, 2.5, "training loss", "step")
    methods = in_order(curves["method"])
    colour = colours(methods)
    for axes, problem in zip(grid, problems, strict=True):
        of_problem = curves[curves["problem"] == problem]
        for method in methods:
            losses = of_problem[of_problem["method"] == method].assign(
                log=lambda table: np.log(table["train_loss"])
            )
            values = np.exp(losses.groupby("step")["log"].agg(["mean", "min", "max"]))
            width = 2.2 if method == "pal" else 1.3
            axes.plot(values.index, values["mean"], color=colour[method], lw=width)
            axes.fill_between(
                values.index, values["min"], values["max"], color=colour[method], alpha=0.12, lw=0
            )
        axes.set(yscale="log", title=problem)
    legend(figure, {label(method): {"color": colour[method]} for method in methods}, len(methods))
    return figure
