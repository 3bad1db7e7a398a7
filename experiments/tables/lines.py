"""Tables of measured lines: their shape, and the points that figures draw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.runs import FinishedRun
from experiments.shapes import shape
from experiments.tables.common import Tables, in_rows

DRAWN = 12
"""Lines whose points go into points.csv: of the first seed, spread over the training."""


def lines(finished: Sequence[FinishedRun]) -> Tables:
    """lines: one row per measured line; points: the lines that figures draw."""
    rows = [row for run in finished for row in _line_rows(run)]
    table = in_rows(pd.DataFrame(rows), ["problem", "seed", "at"])
    first = {problem: group["seed"].min() for problem, group in table.groupby("problem")}
    drawn = [_points(run) for run in finished if run.config.seed == first[run.config.problem]]
    return {
        "lines": table,
        "points": in_rows(pd.concat(drawn, ignore_index=True), ["problem", "seed", "at", "distance"]),
    }


def _line_rows(run: FinishedRun) -> list[dict[str, Any]]:
    trace = {name.removeprefix("lines/"): run.trace[name] for name in run.trace if name.startswith("lines/")}
    return [
        _line_row(run, {name: values[index] for name, values in trace.items()})
        for index in range(len(trace["at"]))
    ]


def _line_row(run: FinishedRun, line: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: float(line[name]) for name in ("mu", "step", "loss0", "loss_mu", "slope", "curvature")}
    parabola = (numbers["curvature"] / 2, numbers["slope"], numbers["loss0"])
    reach = max(numbers["step"], numbers["mu"])
    return (
        {
            "problem": run.config.problem,
            "seed": run.config.seed,
            "at": int(line["at"]),
            "case": int(line["case"]),
        }
        | numbers
        | shape(line["distance"], line["loss"], reach, numbers["step"], parabola)
        | {"learning_rate": float(run.trace["learning_rate"][int(line["at"])]), "key": run.key}
    )


def _points(run: FinishedRun) -> pd.DataFrame:
    """Every point of some lines, spread evenly over the logarithm of the training."""
    at = run.trace["lines/at"]
    wanted = np.unique(np.searchsorted(at, np.geomspace(1, at[-1] + 1, DRAWN) - 1))
    columns = {
        "at": np.repeat(at[wanted], run.trace["lines/distance"].shape[1]),
        "distance": run.trace["lines/distance"][wanted].ravel(),
        "loss": run.trace["lines/loss"][wanted].ravel(),
    }
    return pd.DataFrame({"problem": run.config.problem, "seed": run.config.seed} | columns)
