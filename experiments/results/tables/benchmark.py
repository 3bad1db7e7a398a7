"""Tables of the benchmark: results and curves of each run, and the selected configuration of each method."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables import paper_numbers
from experiments.results.tables.common import Run, Tables, identity, in_rows, log_losses, short_key
from experiments.results.tables.intervals import mean_interval
from experiments.results.tables.trainings import trainings


def benchmark(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; curves: one per evaluation; best: the selected configuration of each method; ranking:
    the methods in order, with their distance from PAL; rates: the learning rate over the training.
    """
    tables = trainings(finished)
    runs = tables["runs"]
    return tables | {
        "best": best(runs).pipe(with_published),
        "ranking": ranking(runs),
        "rates": in_rows(
            pd.concat([rates(run) for run in finished]), ["problem", "method", "setting", "seed"]
        ),
    }


TWENTIETHS = 20
"""Number of equal parts of a training, for the shape of its learning rate."""


def rates(run: Run) -> pd.DataFrame:
    """Mean learning rate (step / ||d||) of each twentieth of a training that is judged; no rows for the others."""
    parts = np.array_split(run.trace["learning_rate"].astype(float), TWENTIETHS)
    known = [(number, np.mean(part)) for number, part in enumerate(parts) if len(part)]
    rows = [
        identity(run) | {"twentieth": number, "mean_rate": mean} | short_key(run) for number, mean in known
    ]
    table = pd.DataFrame(rows)
    return table if run.config.phase == "evaluation" else table.iloc[:0]


CRITERIA = {
    "training loss": ("final_train_loss", True),
    "validation accuracy": ("final_val_accuracy_reestimated", False),
    "validation loss": ("final_val_loss", True),
}
"""How configurations are selected: the column, and whether low is good. Test data are not used."""


def criteria(runs: pd.DataFrame) -> list[str]:
    """The criteria for the runs of a problem: of accuracy and validation loss the first that was measured."""
    known = [name for name, (column, _) in CRITERIA.items() if column in runs and runs[column].notna().any()]
    return ["training loss", *[name for name in known if name != "training loss"][:1]]


def of_phase(runs: pd.DataFrame, phase: str) -> pd.DataFrame:
    """The runs of a phase, or all if there are none: without selection seeds, the same runs select and are judged."""
    some = runs[runs["phase"] == phase]
    return some if len(some) else runs


def best(runs: pd.DataFrame) -> pd.DataFrame:
    """The best configuration of each method by each criterion, averaged over the seeds that are judged.

    A configuration with a diverged seed is worse than all others. at_edge: hyper-parameters of which it has the
    smallest or largest of the values that were tried, so that a wider grid might have a better one.
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
    "data_loss": "final_data_loss",
    "val_loss": "final_val_loss",
    "val_accuracy": "final_val_accuracy_reestimated",
    "test_loss": "test_loss",
    "test_accuracy": "test_accuracy_reestimated",
}
"""Columns of which the selected configuration has mean and standard deviation, by their names there."""


def _selected(runs: pd.DataFrame, column: str, low: bool) -> dict[str, Any]:
    worst = np.inf if low else -np.inf
    tried = of_phase(runs, "selection")
    score = tried[column].where(tried["status"] == "completed", worst).fillna(worst)
    means = score.groupby(tried["setting"], sort=True).mean()
    chosen = str(means.idxmin() if low else means.idxmax())
    seeds = of_phase(runs[runs["setting"] == chosen], "evaluation")
    summary: dict[str, Any] = {
        "setting": chosen,
        "at_edge": _at_edge(chosen, list(means.index)),
        "n": len(seeds),
    }
    for name, source in SUMMARISED.items():
        if source in seeds:
            values = seeds[source].astype(float)
            summary |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(ddof=1)}
    return summary


def _at_edge(chosen: str, tried: Sequence[str]) -> str:
    """Hyper-parameters whose chosen value is the smallest or largest tried one, such as "lr momentum"."""
    values = [dict(part.split("=", 1) for part in setting.split()) for setting in tried]
    table = pd.DataFrame(values).apply(pd.to_numeric, errors="coerce")
    mine = table.to_dict("records")[list(tried).index(chosen)]
    return " ".join(
        str(name)
        for name, column in table.items()
        if column.nunique() > 1 and mine[name] in (column.min(), column.max())
    )


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
    "validation accuracy": "test_accuracy_reestimated",
    "validation loss": "test_loss",
}
"""The result that is compared for the configuration that a criterion selects."""


def ranking(runs: pd.DataFrame) -> pd.DataFrame:
    """The methods in order, each with its selected configuration, per problem and criterion.

    value: mean over fresh seeds of the column that `result` names; behind_pal: how much worse than PAL, as a mean over
    common seeds (in log10 for losses, see `log_losses`), with Student's 95 % interval if there are several. A run that
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
    selected = of_phase(runs, "evaluation").merge(chosen[["method", "setting"]], on=["method", "setting"])
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
