"""Tables of strategies on batches of different sizes, compared by the full-batch loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import Run, Tables, in_rows, measured_lines, short_key
from experiments.results.tables.intervals import block_sums

STRATEGIES = ("optimum", "sgd-0.05", "pal", "exact", "sgd-0.1")
"""See `studies.batchsize`; in the order of the study fullbatch."""

MEASURES = ("improvement", "step", "distance")
"""For each line: decrease of the full-batch loss; step; minimum of the full-batch loss minus step (distances)."""


def batchsize(finished: Sequence[Run]) -> Tables:
    """strategies: one row per line and strategy; summary: one per problem, batch size and strategy; smallest: the
    smallest batch with which a strategy makes progress.
    """
    strategies = pd.concat([_rows(run) for run in finished], ignore_index=True)
    strategies = in_rows(strategies, ["problem", "seed", "at", "size"])
    return {"strategies": strategies, "summary": summary(strategies), "smallest": smallest(strategies)}


def smallest(strategies: pd.DataFrame) -> pd.DataFrame:
    """Smallest batch size with which a strategy lowers the full-batch loss on average over the lines of a training.

    Empty where no size does.
    """
    keys = ["problem", "strategy", "seed"]
    improved = strategies.groupby([*keys, "size"])["improvement"].mean().reset_index()
    sizes = improved["size"].where(improved["improvement"] > 0)
    return sizes.groupby([improved[key] for key in keys]).min().rename("smallest_size").reset_index()


def _rows(run: Run) -> pd.DataFrame:
    """Each line of a run with each strategy; steps with values that are not finite are omitted."""
    lines = measured_lines(run)
    finite = np.all(
        [np.isfinite(values).reshape(len(values), -1).all(axis=1) for values in lines.values()], axis=0
    )
    lines = {name: values[finite] for name, values in lines.items()}
    size = lines["size"].astype(int)
    labels: dict[str, Any] = {"problem": run.config.problem, "seed": run.config.seed} | short_key(run)
    labels |= {"at": lines["at"].repeat(size.shape[1]), "size": size.ravel()}
    return pd.concat(
        [
            pd.DataFrame(
                labels
                | {
                    "strategy": name,
                    "step": lines[f"{name}_step"].ravel(),
                    "distance": (lines["optimum_step"] - lines[f"{name}_step"]).ravel(),
                    "improvement": lines[f"{name}_improvement"].ravel(),
                }
            )
            for name in STRATEGIES
        ]
    )


def summary(strategies: pd.DataFrame) -> pd.DataFrame:
    """Means over lines with 95 % intervals (blocks of lines resampled), per problem, batch size and strategy.

    improvement, step and distance as in `MEASURES`; fraction_of_optimum: fraction of the improvement that was possible
    on the lines of batches of that size.
    """
    rows = [row for problem, group in strategies.groupby("problem") for row in _summary_rows(problem, group)]
    return in_rows(pd.DataFrame(rows), ["problem", "size"])


def _summary_rows(problem: Any, group: pd.DataFrame) -> list[dict[str, Any]]:
    found = {}
    for name in MEASURES:
        draws = resampled(group, name, np.random.default_rng(0))
        found[name] = (means(group, name), *np.quantile(draws, [0.025, 0.975], axis=0))
    sizes = sizes_of(group)
    lines = len(group) // (len(sizes) * len(STRATEGIES))
    return [
        {"problem": problem, "size": size, "strategy": strategy, "lines": lines}
        | {
            f"{name}{ending}": values[row, column]
            for name, parts in found.items()
            for ending, values in zip(("", "_low", "_high"), parts, strict=True)
        }
        | {"fraction_of_optimum": found["improvement"][0][row, column] / found["improvement"][0][row, 0]}
        for row, size in enumerate(sizes)
        for column, strategy in enumerate(STRATEGIES)
    ]


def sizes_of(group: pd.DataFrame) -> list[int]:
    """The batch sizes in ascending order."""
    return sorted(map(int, group["size"].unique()))


def means(group: pd.DataFrame, measure: str) -> np.ndarray:
    """Mean over the lines of a problem, [sizes, strategies]; all trainings have the same weight."""
    return np.mean([values.mean(axis=0) for values in _of_seeds(group, measure)], axis=0).reshape(
        -1, len(STRATEGIES)
    )


def resampled(group: pd.DataFrame, measure: str, random: np.random.Generator) -> np.ndarray:
    """Bootstrap samples of these means, [RESAMPLES, sizes, strategies], by blocks of lines."""
    draws = [block_sums(values, random) / len(values) for values in _of_seeds(group, measure)]
    return np.mean(draws, axis=0).reshape(len(draws[0]), -1, len(STRATEGIES))


def _of_seeds(group: pd.DataFrame, measure: str) -> list[np.ndarray]:
    """One array per seed, [measured steps, sizes * strategies]."""
    order = pd.MultiIndex.from_product([sizes_of(group), STRATEGIES])
    return [
        of_seed.pivot(index="at", columns=["size", "strategy"], values=measure)[order].to_numpy()
        for _, of_seed in group.groupby("seed")
    ]
