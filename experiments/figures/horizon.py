"""Trainings that may end earlier than planned: PAL, and SGD with schedules made for several lengths."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.figures.measures import scale
from experiments.figures.style import OTHERS, PAPER, legend, panels, set_y_scale, styled

SCHEDULES = {"sgd-25": ":", "sgd-50": "--", "sgd-100": "-"}
"""Line styles of SGD by the part of the training, in per cent, for which its schedule was made."""


@styled
def horizon(curves: pd.DataFrame, horizons: Sequence[float]) -> Figure:
    """Training loss of every configuration, mean over seeds, with the ends that the training might have had.

    Args:
        curves: The table `curves` of the study.
        horizons: Fractions of the training after which it might have ended.
    """
    problems = sorted(curves["problem"].unique())
    figure, grid = panels(len(problems), 2, 2.8, "training loss\n(with L2 term)", "step")
    looks: dict[str, dict[str, Any]] = {
        method: _look(method, place) for place, method in enumerate(sorted(set(curves["method"])))
    }
    for axes, problem in zip(grid, problems, strict=True):
        here = curves[curves["problem"] == problem]
        for (method, _), of_one in here.groupby(["method", "setting"]):
            means = of_one.groupby("step")["train_loss"].mean()
            axes.plot(means.index, means, **looks[str(method)])
        for part in horizons:
            axes.axvline(part * here["step"].max(), color="#bbbbbb", lw=0.8, zorder=0)
        set_y_scale(axes, scale(here["train_loss"]))
        axes.set_title(problem, pad=3)
    legend(figure, {_label(method): look for method, look in looks.items()}, 2)
    return figure


def _look(method: str, place: int) -> dict[str, Any]:
    if method == "pal":
        return {"color": PAPER["pal"], "lw": 2.2}
    if method in SCHEDULES:
        return {"color": PAPER["sgd"], "ls": SCHEDULES[method]}
    return {"color": OTHERS[place % len(OTHERS)]}


def _label(method: str) -> str:
    _, _, part = method.partition("-")
    return (
        f"SGD, schedule for {part} % of the training" if method in SCHEDULES else method.replace("pal", "PAL")
    )
