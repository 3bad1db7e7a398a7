"""Claims about the shape of lines.

They are judged by the lines at evenly spaced steps of the whole training; the first lines, which are measured more
densely, are in tables and figures only. The value of a training is a fraction of its lines, or a median over them.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.results.claims.claim import Claim, Measure
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.statistics import Criterion
from experiments.results.tables.line_shape import CONVEX

CLOSE = 0.05
"""PAL's parabola counts as good if its error exceeds that of the best one by less than this fraction."""

SAMPLING_ERROR = 0.05
"""About the sampling error of a fraction of 20 lines that all agree (see `fraction_error`)."""

INFORMATIVE = 0.5
"""The least fraction of informative probes with which a problem says anything about parabolas."""


def even_lines(evidence: Evidence) -> pd.DataFrame:
    """The evenly spaced lines; problems with several mu are named with it."""
    lines = evidence.table("lines", "lines")
    lines = lines[lines["part"] == "even"]
    several = lines.groupby("problem")["mu"].transform("nunique") > 1
    names = lines["problem"] + ", mu " + lines["mu"].map("{:g}".format)
    return lines.assign(problem=lines["problem"].where(~several, names))


def _fraction(column: str, holds: Callable[[pd.Series], pd.Series]) -> Measure:
    """The fraction of the lines of a training of which something holds."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        lines = even_lines(evidence).dropna(subset=[column])
        lines = lines.assign(holds=holds(lines[column]).astype(float))
        table = lines.groupby(["problem", "seed"])["holds"].agg(value="mean", lines="count").reset_index()
        return table.assign(floor=fraction_error(table["value"], table["lines"]))

    return measure


def fraction_error(fraction: pd.Series, count: pd.Series) -> pd.Series:
    """The sampling error of a fraction of `count` lines, by a fraction that is neither 0 nor 1."""
    inner = (fraction * count + 1) / (count + 2)
    return np.sqrt(inner * (1 - inner) / count)


def _improvement(evidence: Evidence) -> pd.DataFrame:
    lines = even_lines(evidence)
    informative = lines[lines["uninformative"] == 0]
    values = (
        informative.groupby(["problem", "seed"])["improvement_fraction"]
        .median()
        .rename("value")
        .reset_index()
    )
    fractions = (1 - lines.groupby("problem")["uninformative"].mean()).rename("informative")
    values = values.merge(fractions.reset_index(), on="problem", how="right")
    return values.assign(obstacle=[_obstacle(fraction) for fraction in values["informative"]])


def _obstacle(informative: float) -> str:
    if informative >= INFORMATIVE:
        return ""
    return f"the step is half of mu on {1 - informative:.0%} of the lines: the probe says nothing about them"


CLAIMS = [
    Claim(
        "lines-convex",
        "Batch losses along the search direction are mostly convex near the weights.",
        "paper",
        "abstract [certain]; our measure",
        "Fraction of a training's lines (at evenly spaced steps) that are nowhere further above their convex hull "
        "than 1 % of their range, between the weights and twice the nearer of the first local minimum and the lowest "
        "point.",
        Criterion(
            "above",
            0.5,
            0.15,
            "{value} of the lines are convex near the weights",
            "fraction of lines",
            floor=SAMPLING_ERROR,
            pilot="convex_fraction",
        ),
        _fraction("hull_distance", lambda distance: distance <= CONVEX),
        "lines",
        figure="lines/line-shape.png",
    ),
    Claim(
        "lines-parabolic",
        "A parabola through loss, slope and one more loss locates the minimum of the line well.",
        "paper",
        "abstract [certain]; our measure",
        "Median over a training's lines of the fraction of the possible decrease of the batch loss (exact search) "
        "that PAL's step with alpha = 1 achieves. Probes that say nothing (a step within 5 % of mu / 2) are not "
        "counted; a problem with more than half of them is out of reach.",
        Criterion(
            "above",
            0.9,
            0.03,
            "PAL's step achieves {value} of the possible decrease of the batch loss",
            "fraction of decrease",
            floor=0.005,
            pilot="improvement_fraction",
        ),
        _improvement,
        "lines",
        figure="lines/line-shape.png",
    ),
    Claim(
        "parabola-fit",
        "PAL's parabola, from three numbers, fits the line about as well as the best parabola.",
        "paper",
        "abstract: well suited for parabolic approximation [certain]; our measure",
        "Fraction of a training's lines on which PAL's parabola is less than 5 % worse than the best parabola of the "
        "same window.",
        Criterion(
            "above",
            0.5,
            0.15,
            "PAL's parabola is as good as the best one on {value} of the lines",
            "fraction of lines",
            floor=SAMPLING_ERROR,
            pilot="fit_fraction",
        ),
        _fraction("fit_error", lambda error: error < CLOSE),
        "lines",
        figure="lines/fit-errors.png",
    ),
]
