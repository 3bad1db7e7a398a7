"""Tables of measured lines: their shape, and the points that figures draw."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.line_shape import fits, shape

DRAWN = 12
"""Number of lines in points.csv: of the first seed, spread over the training."""


def lines(finished: Sequence[Run]) -> Tables:
    """lines: one row per measured line; phases: how often the assumption fails, and when; points: lines to draw."""
    rows = [row for run in finished for row in _line_rows(run)]
    table = in_rows(pd.DataFrame(rows), ["problem", "seed", "at"])
    first = {problem: group["seed"].min() for problem, group in table.groupby("problem")}
    drawn = [_points(run) for run in finished if run.config.seed == first[run.config.problem]]
    return {
        "lines": table,
        "phases": phases(table, finished),
        "points": in_rows(pd.concat(drawn, ignore_index=True), ["problem", "view", "seed", "at", "distance"]),
    }


PHASES = {"early": (0.0, 0.1), "middle": (0.1, 0.5), "late": (0.5, 1.0)}
"""Parts of a training, as fractions of its steps."""


def phases(lines: pd.DataFrame, finished: Sequence[Run]) -> pd.DataFrame:
    """How many lines violate the assumption, and how well PAL's step does on them, per problem and phase.

    not_convex and several_minima: fractions of lines; not_normal: fraction of all steps without positive curvature and
    negative slope; the others: medians over lines.
    """
    steps: dict[Any, int] = {run.config.problem: run.config.steps for run in finished}
    rows = [
        {"problem": problem, "phase": phase}
        | _phase(group, finished, problem, low * steps[problem], high * steps[problem])
        for problem, group in lines.groupby("problem")
        for phase, (low, high) in PHASES.items()
    ]
    return pd.DataFrame(rows)


def _phase(
    lines: pd.DataFrame, finished: Sequence[Run], problem: Any, start: float, end: float
) -> dict[str, Any]:
    here = lines[(lines["at"] >= start) & (lines["at"] < end)]
    cases = np.concatenate(
        [
            run.trace["case"][math.ceil(start) : math.ceil(end)]
            for run in finished
            if run.config.problem == problem
        ]
    )
    medians = ("step_error", "improvement", "linear_error", "quadratic_error", "pal_error")
    return {
        "lines": len(here),
        "not_convex": 1 - here["locally_convex"].mean(),
        "several_minima": (here["minima"] > 1).mean(),
        "not_normal": float(np.mean(cases != 0)),
    } | {name: here[name].median() for name in medians}


def _line_rows(run: Run) -> list[dict[str, Any]]:
    """One row per line; a line without a loss at the weights has no shape."""
    lines = measured_lines(run)
    lines["learning_rate"] = run.trace["learning_rate"][lines["at"]]
    return [
        _line_row(run, {name: values[index] for name, values in lines.items()})
        for index in np.flatnonzero(np.isfinite(lines["loss0"]))
    ]


def _line_row(run: Run, line: dict[str, Any]) -> dict[str, Any]:
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
        | short_key(run)
        | numbers
        | shape(line["distance"], line["loss"], reach, numbers["step"], parabola)
        | fits(line["window_distance"], line["window_loss"], parabola)
        | {"learning_rate": float(line["learning_rate"])}
    )


def _points(run: Run) -> pd.DataFrame:
    """All points of some lines, which are spread logarithmically over the training."""
    at = run.trace["lines/at"]
    wanted = np.unique(np.searchsorted(at, np.geomspace(1, at[-1] + 1, DRAWN) - 1))
    views = [_view(run, view, at, wanted) for view in ("", "wide_")]
    return pd.concat(views, ignore_index=True)


def _view(run: Run, view: str, at: np.ndarray, wanted: np.ndarray) -> pd.DataFrame:
    distances, losses = (run.trace[f"lines/{view}{name}"][wanted] for name in ("distance", "loss"))
    columns = {
        "at": np.repeat(at[wanted], distances.shape[1]),
        "distance": distances.ravel(),
        "loss": losses.ravel(),
    }
    whose = {"problem": run.config.problem, "seed": run.config.seed, "view": view.removesuffix("_") or "near"}
    return pd.DataFrame(whose | short_key(run) | columns)
