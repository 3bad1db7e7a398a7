"""Tables of the benchmark: results and curves of each run, and the selected configuration of each method."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables import paper_numbers
from experiments.results.tables.common import Run, Tables, log_losses
from experiments.results.tables.intervals import mean_interval
from experiments.results.tables.trainings import trainings


def benchmark(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; curves: one per evaluation; best: the selected configuration of each method; ranking:
    the methods in order, with their distance from PAL.
    """
    tables = trainings(finished)
    runs = tables["runs"]
    return tables | {"best": best(runs).pipe(with_published), "ranking": ranking(runs)}


CRITERIA = {
    "training loss": ("final_train_loss", True),
    "validation accuracy": ("final_val_accuracy", False),
    "validation loss": ("final_val_loss", True),
}
"""How configurations are selected: the column, and whether low is good. Test data are not used."""


def criteria(runs: pd.DataFrame) -> list[str]:
    """The criteria for the runs of a problem: of accuracy and validation loss the first that was measured."""
    known = [name for name, (column, _) in CRITERIA.items() if column in runs and runs[column].notna().any()]
    return ["training loss", *[name for name in known if name != "training loss"][:1]]


def best(runs: pd.DataFrame) -> pd.DataFrame:
    """The best configuration of each method by each criterion, averaged over seeds.

    A configuration with a diverged seed is worse than all others.
    """
    rows = [
        {"problem": problem, "method": method, "criterion": criterion} | _selected(group, column, low)
        for problem, of_problem in runs.groupby("problem", sort=True)
        for method, group in of_problem.groupby("method", sort=True)
        for criterion in criteria(of_problem)
        for column, low in [CRITERIA[criterion]]
    ]
    return pd.DataFrame(rows)


SUMMARISED = {
    "train_loss": "final_train_loss",
    "val_loss": "final_val_loss",
    "val_accuracy": "final_val_accuracy",
    "test_loss": "test_loss",
    "test_accuracy": "test_accuracy",
}
"""Columns of which the selected configuration has mean and standard deviation, by their names there."""


def _selected(runs: pd.DataFrame, column: str, low: bool) -> dict[str, Any]:
    worst = np.inf if low else -np.inf
    score = runs[column].where(runs["status"] == "completed", worst).fillna(worst)
    means = score.groupby(runs["setting"], sort=True).mean()
    chosen = str(means.idxmin() if low else means.idxmax())
    seeds = runs[runs["setting"] == chosen]
    summary: dict[str, Any] = {"setting": chosen, "n": len(seeds)}
    for name, source in SUMMARISED.items():
        if source not in seeds:
            continue
        values = seeds[source].astype(float)
        summary |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(ddof=1)}
    return summary


def with_published(chosen: pd.DataFrame) -> pd.DataFrame:
    """Add the paper's numbers where they are known, and ours minus theirs."""
    names = list(zip(chosen["problem"], chosen["method"], strict=True))
    for column, known in (
        ("train_loss", paper_numbers.TRAIN_LOSS),
        ("test_accuracy", paper_numbers.TEST_ACCURACY),
    ):
        numbers = pd.Series([known.get(name) for name in names], index=chosen.index, dtype=float)
        chosen[f"{column}_published"] = numbers
        chosen[f"{column}_difference"] = chosen[f"{column}_mean"] - numbers
    return chosen


RESULTS = {
    "training loss": "final_train_loss",
    "validation accuracy": "test_accuracy",
    "validation loss": "test_loss",
}
"""The result that is compared for the configuration that a criterion selects."""


def ranking(runs: pd.DataFrame) -> pd.DataFrame:
    """The methods in order, each with its selected configuration, per problem and criterion.

    value: mean over seeds of the column that `result` names; behind_pal: how much worse than PAL, as a mean over common
    seeds (in log10 for losses, see `log_losses`), with Student's 95 % interval if there are several. A run that
    diverged has no value; a method with diverged runs only is last.
    """
    chosen = best(runs)
    rows = [
        row
        for (problem, criterion), group in chosen.groupby(["problem", "criterion"], sort=True)
        for row in _ranked(runs[runs["problem"] == problem], group, str(problem), str(criterion))
    ]
    return pd.DataFrame(rows)


def _ranked(runs: pd.DataFrame, chosen: pd.DataFrame, problem: str, criterion: str) -> list[dict[str, Any]]:
    low_is_good = CRITERIA[criterion][1]
    selected = runs.merge(chosen[["method", "setting"]], on=["method", "setting"])
    values = selected.pivot_table(RESULTS[criterion], "seed", "method", dropna=False).astype(float)
    scores = log_losses(values) if low_is_good else -values
    order = scores.mean().sort_values(kind="stable", na_position="last").index
    return [
        {
            "problem": problem,
            "criterion": criterion,
            "result": RESULTS[criterion],
            "rank": place,
            "method": method,
            "value": values[method].mean(),
        }
        | _behind(scores[method] - scores["pal"] if "pal" in scores else pd.Series(dtype=float))
        for place, method in enumerate(order, start=1)
    ]


def _behind(differences: pd.Series) -> dict[str, Any]:
    known = differences.dropna().to_numpy(dtype=float)
    low, high = mean_interval(known)
    mean = known.mean() if len(known) else np.nan
    return {"behind_pal": mean, "low": low, "high": high, "n": len(known)}
