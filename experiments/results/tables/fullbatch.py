"""Tables of strategies on measured lines, compared by the full-batch loss.

With the full-batch loss L and the batch loss l along the unit direction, both interpolated by cubic splines, the
strategies are

* optimum: the lowest point of L in the measured interval;
* pal-full: PAL (alpha 1, s_max 3.16) with L(0), L'(0) and L(mu);
* sgd-0.05, sgd-0.1: a step of the learning rate times the norm of the direction;
* pal: PAL with l(0), l'(0) and l(mu);
* exact: the lowest point of l in the measured interval.

A step out of the measured interval is cut to its end, and `inside` is 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.intervals import block_sums
from experiments.studies.strategies import RATES, S_MAX

PUBLISHED = {"optimum": 205, "pal-full": 197, "sgd-0.05": 194, "pal": 170, "exact": 109, "sgd-0.1": 36}
"""Strategies in the published order, with their cumulative improvement [read off] over 10,000 lines of ResNet-18 on
CIFAR-10, SGD without momentum at 0.1 (arXiv:2103.17132, supplement)."""

DRAWN = 8
"""Number of lines in points.csv per problem and momentum: of the first seed, spread over the training."""

GROUP = ["problem", "momentum"]


def fullbatch(finished: Sequence[Run]) -> Tables:
    """strategies: one row per line and strategy; summary: per problem, momentum and strategy; points: lines to draw."""
    rows = [row for run in finished for row in _run_rows(run)]
    strategies = accumulated(pd.DataFrame(rows))
    first = strategies.groupby("problem")["seed"].min()
    drawn = [_points(run) for run in finished if run.config.seed == first[run.config.problem]]
    return {
        "strategies": strategies,
        "summary": summary(strategies),
        "points": in_rows(pd.concat(drawn, ignore_index=True), [*GROUP, "seed", "at", "distance"]),
    }


def judged(line: dict[str, Any], mu: float) -> list[dict[str, Any]]:
    """Step, distance to the optimum (optimum - step) and decrease of the full-batch loss for each strategy.

    Args:
        line: One row of each array of the study (see `studies.fullbatch.run`).
        mu: mu of PAL.
    """
    known = np.isfinite(line["distance"]) & np.isfinite(line["batch"]) & np.isfinite(line["full"])
    distance = line["distance"][known]
    batch, full = (CubicSpline(distance, line[name][known]) for name in ("batch", "full"))
    wanted = {
        "optimum": lowest(full),
        "pal-full": _pal(line, "full", mu),
        "pal": _pal(line, "batch", mu),
        "exact": lowest(batch),
    } | {name: rate * float(line["norm"]) for name, rate in RATES.items()}
    steps = {name: float(np.clip(wanted[name], distance[0], distance[-1])) for name in PUBLISHED}
    return [
        {
            "strategy": name,
            "step": step,
            "distance": steps["optimum"] - step,
            "improvement": float(line["full_loss0"] - full(step)),
            "inside": int(distance[0] < wanted[name] < distance[-1]),
        }
        for name, step in steps.items()
    ]


def lowest(curve: CubicSpline) -> float:
    """Where the spline is lowest, at a measured point or between two."""
    places = np.concatenate((curve.x, curve.derivative().roots(extrapolate=False)))
    places = places[
        np.isfinite(places)
    ]  # a spline that is constant between two points has a NaN among its roots
    return float(places[np.argmin(curve(places))])


def _pal(line: dict[str, Any], loss: str, mu: float) -> float:
    from pal.parabola import minimise  # needs torch, which reading these tables should not wait for

    loss0, loss_mu, slope = (float(line[f"{loss}_{name}"]) for name in ("loss0", "loss_mu", "slope"))
    return float(minimise(loss0, loss_mu, slope, mu, s_max=S_MAX).step)


def _run_rows(run: Run) -> list[dict[str, Any]]:
    lines = measured_lines(run)
    assert run.config.measure is not None
    return [
        _labels(run) | {"at": int(lines["at"][index])} | row
        for index in range(len(lines["at"]))
        if np.isfinite(
            [lines[name][index] for name in ("norm", "batch_loss0", "full_loss0", "full_slope")]
        ).all()
        for row in judged({name: values[index] for name, values in lines.items()}, run.config.measure["mu"])
    ]


def _labels(run: Run) -> dict[str, Any]:
    return {
        "problem": run.config.problem,
        "momentum": run.config.settings["momentum"],
        "seed": run.config.seed,
    } | short_key(run)


def accumulated(strategies: pd.DataFrame) -> pd.DataFrame:
    """Add cumulative sums over the lines of a training: of steps, absolute distances and improvements."""
    table = in_rows(strategies, [*GROUP, "seed", "at"])
    values = table.assign(distance=table["distance"].abs())
    sums = values.groupby([*GROUP, "seed", "strategy"])[["step", "distance", "improvement"]].cumsum()
    return table.join(sums.add_prefix("cumulative_"))


def summary(strategies: pd.DataFrame) -> pd.DataFrame:
    """Results over all measured lines of a training (mean over seeds), per problem, momentum and strategy.

    improvement with a 95 % interval (see `resampled`), its rank (1: largest) and its fraction of the optimum's;
    absolute distance to the optimum and step, means over lines; the fraction of lines on which the step was inside the
    measured interval; and the published improvement.
    """
    rows = [
        row | dict(zip(GROUP, key, strict=True))
        for key, group in strategies.groupby(GROUP)
        for row in _summary_rows(group)
    ]
    table = pd.DataFrame(rows)
    return table[[*GROUP, *(name for name in table if name not in GROUP)]]


def _summary_rows(group: pd.DataFrame) -> list[dict[str, Any]]:
    names, totals = list(PUBLISHED), totals_of(group)
    low, high = np.quantile(resampled(group, np.random.default_rng(0)), [0.025, 0.975], axis=0)
    ranks = (-totals).argsort().argsort() + 1
    of_strategy = dict(iter(group.assign(distance=group["distance"].abs()).groupby("strategy")))
    return [
        {
            "strategy": name,
            "lines": len(of_strategy[name]),
            "improvement": totals[place],
            "low": low[place],
            "high": high[place],
            "rank": int(ranks[place]),
            "fraction_of_optimum": totals[place] / totals[names.index("optimum")],
            "distance": of_strategy[name]["distance"].mean(),
            "step": of_strategy[name]["step"].mean(),
            "inside": of_strategy[name]["inside"].mean(),
            "published": PUBLISHED[name],
        }
        for place, name in enumerate(names)
    ]


def totals_of(group: pd.DataFrame) -> np.ndarray:
    """Cumulative improvement of each strategy in the order of `PUBLISHED`, mean over seeds."""
    return np.mean([values.sum(axis=0) for values in _improvements(group)], axis=0)


def resampled(group: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """Bootstrap samples of the cumulative improvements, [RESAMPLES, strategies], by blocks of lines."""
    return np.mean([block_sums(values, random) for values in _improvements(group)], axis=0)


def _improvements(group: pd.DataFrame) -> list[np.ndarray]:
    """For each seed, the improvement on each line by each strategy, [lines, strategies]."""
    return [
        of_seed.pivot(index="at", columns="strategy", values="improvement")[list(PUBLISHED)].to_numpy()
        for _, of_seed in group.groupby("seed")
    ]


def _points(run: Run) -> pd.DataFrame:
    """All points of some lines, which are spread logarithmically over the training."""
    lines = measured_lines(run)
    wanted = np.unique(np.geomspace(1, len(lines["at"]), DRAWN).round().astype(int) - 1)
    columns = {name: lines[name][wanted].ravel() for name in ("distance", "batch", "full")}
    at = np.repeat(lines["at"][wanted], lines["distance"].shape[1])
    return pd.DataFrame(_labels(run) | {"at": at} | columns).dropna()
