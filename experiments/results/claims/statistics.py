"""From the values of trainings to intervals, detectable effects, and what they say of a criterion.

The unit is the training (a seed, or a pair of trainings with the same seed) within a problem. All functions take tables
with one row per value or estimate and work on all groups of rows at once.

Over problems, the estimate is the mean of the problem means, with se^2 = P^-2 sum_i s_i^2 / n_i and the degrees of
freedom of Satterthwaite (1946). It says what holds on these problems; differences between them do not widen it.

A claim may have several parts, one test each. It is supported only if every test is passed (intersection-union,
which needs no correction) and contradicted if one of its k parts is, at a level divided by k (Bonferroni).

A claim that there is an effect (its bound is zero) is contradicted, too, by an interval that excludes the smallest
effect of interest. Otherwise no number of trainings could decide a claim about an effect that is not there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import nctdtrinc, stdtr, stdtrit

SIDE = 0.025
"""Probability on each side of a 95 % interval."""

POWER = 0.8
"""Probability with which an effect of the detectable size is found."""

FEWEST = 4
"""The minimum number of trainings for a verdict."""

OVER = "over problems"
"""Stands for the problem in rows of estimates over problems."""


@dataclass(frozen=True)
class Criterion:
    """When the mean of a value decides.

    Attributes:
        rule: Whether the 95 % interval has to be above the bound, below it, or within plus and minus the bound (which
            is a pair of one-sided tests, each with an error of 2.5 %).
        bound: See rule.
        smallest: The smallest effect of interest, a distance from the bound; for "within", the bound itself. Where the
            bound is zero, an interval without effects of this size contradicts.
        words: A sentence about the mean: {value}, {part}, and [lower|higher] for a value above or below zero.
        unit: Unit of the value.
        floor: The least standard deviation of a value that is believed, where rows bring none of their own: equal
            values do not make an interval of zero width.
        scale: How values are shown: as they are, as the ratio of which they are the logarithm to that base, or by tanh.
        pilot: The column of the tables of which pilots give the spread over seeds (see `power`).
        trainings: Of how many trainings a value is the difference: 2 for pairs.
    """

    rule: Literal["above", "below", "within"]
    bound: float
    smallest: float
    words: str
    unit: str
    floor: float = 0.0
    scale: Literal["", "10", "2", "e", "tanh"] = ""
    pilot: str = ""
    trainings: int = 1


def equivalent(margin: float, words: str, unit: str, floor: float = 0.0, pilot: str = "") -> Criterion:
    """A difference of two trainings that is hardly any: less than a margin in either direction."""
    return Criterion("within", margin, margin, words, unit, floor, "", pilot, trainings=2)


def lower_loss(
    words: str, smallest: float = 0.1, bound: float = 0.0, pilot: str = "final_train_loss"
) -> Criterion:
    """A loss that is lower than that of the other training of its pair: the difference of their log10 is positive."""
    return Criterion("above", bound, smallest, words, "log10 loss", 0.005, "", pilot, trainings=2)


SCALES: dict[str, Callable[[float], float]] = {
    "": lambda value: value,
    "10": lambda value: 10**value,
    "2": lambda value: 2**value,
    "e": math.exp,
    "tanh": math.tanh,
}
"""How values are shown."""


def estimates(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error per problem and part: n, mean, sd, error, df.

    Args:
        values: problem, part, seed, value, floor; rows of the same seed are averaged first.
    """
    keys = ["problem", "part"]
    known = values.dropna(subset=["value"])
    trainings = known.groupby([*keys, "seed"], sort=True)[["value", "floor"]].mean()
    groups = trainings.assign(square=trainings["floor"] ** 2).groupby(keys, sort=True)
    table = groups["value"].agg(n="count", mean="mean", sd="std")
    spread = np.fmax(table["sd"], np.sqrt(groups["square"].mean()))
    return table.assign(error=spread / np.sqrt(table["n"]), df=table["n"] - 1.0).reset_index()


def over_problems(table: pd.DataFrame, keys: Sequence[str] = ("part",)) -> pd.DataFrame:
    """The mean of problem means per part, with Satterthwaite's degrees of freedom; `problems` counts them.

    Args:
        table: Estimates with at least two trainings each.
        keys: The columns that distinguish estimates over problems.
    """
    squares = table.assign(square=table["error"] ** 2, fourth=table["error"] ** 4 / table["df"])
    groups = squares.groupby(list(keys), sort=True)
    sums = groups[["square", "fourth", "n"]].sum()
    count = groups.size()
    return pd.DataFrame(
        {
            "n": sums["n"],
            "problems": count,
            "mean": groups["mean"].mean(),
            "sd": groups["mean"].std(),
            "error": np.sqrt(sums["square"]) / count,
            "df": sums["square"] ** 2 / sums["fourth"],
        }
    ).reset_index()


def detectable(error: pd.Series, df: pd.Series, within: pd.Series, parts: pd.Series) -> pd.Series:
    """The effect that is found with a probability of 80 %: a distance from the bound, or a margin that zero is within.

    Of several parts, all have to be passed: the chance to miss is divided among them.
    """
    missed = (1 - POWER) / parts
    critical = stdtrit(df, 1 - SIDE)
    one_sided = nctdtrinc(df, missed, critical)
    two_sided = critical + stdtrit(df, 1 - missed / 2)
    return error * np.where(within, two_sided, one_sided)


def decided(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Estimates with low, high, detectable, p, supported and contradicted, row by row.

    p is two-sided, against the bound or, if that is what contradicts, against the smallest effect of interest.

    Args:
        table: Estimates with the columns rule, bound and smallest of their criterion and, for groups in which no effect
            counts as excluded because there is one somewhere, held.
        keys: Columns of the groups whose rows are the parts of one verdict.
    """
    parts = table.groupby(list(keys))["part"].transform("count")
    reach, strict = (table["error"] * stdtrit(table["df"], 1 - SIDE / k) for k in (1, parts))
    mean, bound, rule = table["mean"], table["bound"], table["rule"]
    within, sign = rule == "within", np.where(rule == "below", -1.0, 1.0)
    distance = pd.Series(np.where(within, bound - mean.abs(), sign * (mean - bound)), table.index)
    opposite = distance < -strict
    excluded = (
        effect_sought(table) & (distance + strict < table["smallest"]) & ~(distance > reach) & ~opposite
    )
    if "held" in table:
        excluded &= ~table["held"]
    surprise = distance.where(~excluded, table["smallest"] - distance).abs()
    return table.assign(
        low=mean - reach,
        high=mean + reach,
        detectable=detectable(table["error"], table["df"], within, parts),
        p=2 * (1 - stdtr(table["df"], surprise / table["error"])),
        supported=distance > reach,
        contradicted=opposite | excluded,
        slack=distance / table["error"],
    )


def effect_sought(criterion: Any) -> Any:
    """Whether claims, in rows of a table or a single row, are that there is an effect: not a threshold or a margin."""
    return (criterion["bound"] == 0) & (criterion["rule"] != "within")
