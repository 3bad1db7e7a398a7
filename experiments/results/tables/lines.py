"""Tables of measured lines: their shape, and the points that figures draw."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.line_shape import CONVEX, fit_error, fits, hull_distance, minima
from experiments.results.tables.trainings import uninformative

DRAWN = 12
"""Number of lines in points.csv: of the first seed, spread over the training."""


def lines(finished: Sequence[Run]) -> Tables:
    """lines: one row per measured line; phases: how often the assumption fails, and when; convexity: fractions of lines
    that are convex within a radius; points: lines to draw.

    hull_distance: see `line_shape`, on [0, 2m] (`studies.lines`); improvement_fraction: (l(0) - l(s)) / (l(0) - l(s*)),
    with PAL's step s and the exact minimum s*; log_ratio: log(s1 / s*), with the minimum s1 of PAL's parabola;
    fit_error: see `line_shape`, on [0, 2m]; uninformative: s1 is within 5 % of mu / 2, so that the probe says nothing;
    part: "even" if the line is one of those spread evenly over the training, else "first".
    """
    measured = [(run, measured_lines(run)) for run in finished]
    rows = [row for run, arrays in measured for row in _line_rows(run, arrays)]
    table = in_rows(pd.DataFrame(rows), [*ORDER, "at"])
    first = {key: group["seed"].min() for key, group in table.groupby(GROUP)}
    drawn = [_points(run) for run in finished if run.config.seed == first[_group(run)]]
    return {
        "lines": table,
        "phases": phases(table, finished),
        "convexity": convexity(measured),
        "points": in_rows(pd.concat(drawn, ignore_index=True), [*GROUP, "view", "seed", "at", "distance"]),
    }


GROUP = ["problem", "mu"]
ORDER = [*GROUP, "seed"]


def _group(run: Run) -> tuple[str, float]:
    return run.config.problem, run.config.settings["mu"]


PHASES = {"early": (0.0, 0.1), "middle": (0.1, 0.5), "late": (0.5, 1.0)}
"""Parts of a training, as fractions of its steps."""


def phases(lines: pd.DataFrame, finished: Sequence[Run]) -> pd.DataFrame:
    """How many lines violate the assumption, and how well PAL's step does on them, per problem, mu and phase.

    not_convex, several_minima and uninformative: fractions of the evenly spaced lines; not_normal: fraction of all
    steps without positive curvature and negative slope; the others: medians over the evenly spaced lines.
    """
    even = lines[lines["part"] == "even"]
    rows = [
        dict(zip(GROUP, key, strict=True))
        | {"phase": phase}
        | _phase(group, [run for run in finished if _group(run) == key], *ends)
        for key, group in even.groupby(GROUP)
        for phase, ends in PHASES.items()
    ]
    return pd.DataFrame(rows)


MEDIANS = ("log_ratio", "improvement_fraction", "fit_error", "linear_error", "quadratic_error", "pal_error")


def _phase(lines: pd.DataFrame, finished: Sequence[Run], start: float, end: float) -> dict[str, Any]:
    steps = finished[0].config.steps
    low, high = math.ceil(start * steps), math.ceil(end * steps)
    here = lines[(lines["at"] >= low) & (lines["at"] < high)]
    cases = np.concatenate([run.trace["case"][low:high] for run in finished])
    return {
        "lines": len(here),
        "not_convex": (here["hull_distance"].dropna() > CONVEX).mean(),
        "several_minima": (here["minima"] > 1).mean(),
        "uninformative": here["uninformative"].mean(),
        "not_normal": float(np.mean(cases != 0)),
    } | {name: here[name].median() for name in MEDIANS}


RADII = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Distances from the weights up to which convexity is judged, as multiples of s*."""


def convexity(measured: Sequence[tuple[Run, dict[str, np.ndarray]]]) -> pd.DataFrame:
    """Fraction of the evenly spaced lines of each training that are convex up to a radius, in units of s*.

    A line counts for the radii up to which it was measured.
    """
    rows = [
        dict(zip(GROUP, _group(run), strict=True)) | {"seed": run.config.seed, "radius": radius} | found
        for run, lines in measured
        for radius in RADII
        if (found := _convex_within(lines, radius))["lines"]
    ]
    return in_rows(pd.DataFrame(rows), [*ORDER, "radius"])


def _convex_within(lines: dict[str, np.ndarray], radius: float) -> dict[str, Any]:
    """Number of lines that were measured up to a radius, and the fraction of them that are convex there."""
    found = []
    for index in np.flatnonzero(lines["even"].astype(bool) & (lines["exact"] > 0)):
        views = [
            (lines[f"{view}distance"][index], lines[f"{view}loss"][index]) for view in ("", "wide_", "near_")
        ]
        distances, losses = map(np.concatenate, zip(*views, strict=True))
        end = radius * lines["exact"][index]
        if np.nanmax(distances) >= end * (1 - 1e-9):
            places, first = np.unique(distances, return_index=True)
            inside = (places >= 0) & (places <= end * (1 + 1e-9))
            found.append(hull_distance(places[inside], losses[first][inside]) <= CONVEX)
    return {"lines": len(found), "convex_fraction": np.mean(found) if found else np.nan}


def _line_rows(run: Run, lines: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per line; a line without a loss at the weights has no shape."""
    lines = lines | {"learning_rate": run.trace["learning_rate"][lines["at"]]}
    return [
        _line_row(run, {name: values[index] for name, values in lines.items()})
        for index in np.flatnonzero(np.isfinite(lines["loss0"]))
    ]


NUMBERS = ("step", "loss0", "loss_mu", "slope", "curvature", "exact", "loss_exact", "loss_step")


def _line_row(run: Run, line: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: float(line[name]) for name in ("mu", *NUMBERS)}
    parabola = (numbers["curvature"] / 2, numbers["slope"], numbers["loss0"])
    return (
        {"problem": run.config.problem, "seed": run.config.seed, "at": int(line["at"])}
        | {"part": "even" if line["even"] else "first", "case": int(line["case"])}
        | short_key(run)
        | numbers
        | _exactness(numbers, int(line["case"]))
        | {
            "hull_distance": hull_distance(line["near_distance"], line["near_loss"]),
            "fit_error": fit_error(line["near_distance"], line["near_loss"], parabola),
            "minima": minima(line["loss"]),
        }
        | fits(line["window_distance"], line["window_loss"], parabola)
        | {"learning_rate": float(line["learning_rate"])}
    )


def _exactness(line: dict[str, float], case: int) -> dict[str, float]:
    """Where PAL's parabola and step are, compared with the minimum s* of the line; NaN for a line that only rises."""
    vertex = -line["slope"] / line["curvature"] if case == 0 else math.nan
    descends = line["exact"] > 0 and line["loss_exact"] < line["loss0"]
    possible = line["loss0"] - line["loss_exact"] if descends else math.nan
    return {
        "improvement_fraction": (line["loss0"] - line["loss_step"]) / possible,
        "log_ratio": math.log(vertex / line["exact"]) if descends and vertex > 0 else math.nan,
        "uninformative": int(uninformative(vertex, line["mu"])),
    }


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
    labels: dict[str, Any] = dict(zip(GROUP, _group(run), strict=True)) | {"seed": run.config.seed}
    labels |= {"view": view.removesuffix("_") or "near"} | short_key(run)
    return pd.DataFrame(labels | columns)
