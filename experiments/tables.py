"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv.

The same runs give the same bytes: rows are sorted, numbers have nine digits, and measured times have a table of their
own (times.csv), the only one that differs between two runs of the same thing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from experiments.runs import FinishedRun
from experiments.shapes import shape
from experiments.source import REPOSITORY

Tables = dict[str, pd.DataFrame]

DRAWN = 12
"""Lines whose points go into points.csv: of the first seed, spread over the training."""


def folder(profile: str, study: str, root: Path = REPOSITORY) -> Path:
    """Where a study's tables are."""
    return root / "results" / profile / study


def write(study: str, profile: str, finished: Sequence[FinishedRun], root: Path = REPOSITORY) -> list[Path]:
    """Make and write all tables of a study; each file is replaced whole."""
    tables = MAKERS[study](finished) | {"times": times(finished), "provenance": provenance(finished)}
    place = folder(profile, study, root)
    place.mkdir(parents=True, exist_ok=True)
    return [replace(table, place / f"{name}.csv") for name, table in sorted(tables.items())]


def read(profile: str, study: str, name: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """One table; raises UserError if it has not been made."""
    path = folder(profile, study, root) / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"{path} is not there; `make reproduce PROFILE={profile}` makes it")
    return pd.read_csv(path, dtype={"key": str, "setting": str, "commit": str}, keep_default_na=True)


def replace(table: pd.DataFrame, path: Path) -> Path:
    """Write a table, whole or not at all."""
    fresh = path.with_suffix(".new")
    table.to_csv(fresh, index=False, float_format="%.9g", lineterminator="\n")
    fresh.replace(path)
    return path


def setting(run: FinishedRun) -> str:
    """The settings of a run as one word list, such as "mu=0.1 alpha=1"."""
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in run.config.settings.items()
    )


def identity(run: FinishedRun) -> dict[str, Any]:
    """Columns that say which run a row is from."""
    return {
        "problem": run.config.problem,
        "entry": run.config.entry,
        "setting": setting(run),
        "seed": run.config.seed,
    }


def times(finished: Sequence[FinishedRun]) -> pd.DataFrame:
    """Wall time of every run."""
    rows = [
        identity(run)
        | {
            "seconds": run.seconds,
            "steps": run.result["steps"],
            "ms_per_step": 1000 * run.seconds / run.result["steps"],
        }
        for run in finished
    ]
    return _sorted(pd.DataFrame(rows), ["problem", "entry", "setting", "seed"])


def provenance(finished: Sequence[FinishedRun]) -> pd.DataFrame:
    """Code, software, data and device, with the number of runs that share them."""
    names = ["commit", "dirty", "python", "torch", "device", "threads", "data_sha256"]
    rows = pd.DataFrame(
        [
            {"problem": run.config.problem} | {name: run.info["provenance"][name] for name in names}
            for run in finished
        ]
    )
    columns = ["problem", *names]
    return rows.groupby(columns, dropna=False, sort=True).size().rename("runs").reset_index()


# -- benchmark ---------------------------------------------------------------------------------------------------


def benchmark(finished: Sequence[FinishedRun]) -> Tables:
    """runs: one row per run; curves: one per evaluation; best: the selected setting of each competitor."""
    runs = _sorted(pd.DataFrame([_run_row(run) for run in finished]), ["problem", "entry", "setting", "seed"])
    curves = pd.concat([_curve(run) for run in finished], ignore_index=True)
    return {
        "runs": runs,
        "curves": _sorted(curves, ["problem", "entry", "setting", "seed", "step"]),
        "best": best(runs),
    }


def _run_row(run: FinishedRun) -> dict[str, Any]:
    names = [
        "status",
        "final_train_loss",
        "min_train_loss",
        "final_val_accuracy",
        "best_val_accuracy",
        "test_accuracy",
    ]
    cases = run.trace["case"]
    measured = cases[np.isfinite(cases)]
    return (
        identity(run)
        | {"optimizer": run.config.optimizer, "schedule": run.config.schedule}
        | {name: run.result[name] for name in names}
        | {"parabola_share": float(np.mean(measured == 0)) if len(measured) else None, "key": run.key}
    )


def _curve(run: FinishedRun) -> pd.DataFrame:
    columns = {
        name: run.trace[f"evaluations/{name}"] for name in ("train_loss", "val_accuracy", "learning_rate")
    }
    steps = run.trace["evaluations/evaluation_step"].astype(int)
    return pd.DataFrame(identity(run) | {"step": steps} | columns)


CRITERIA = {"training loss": ("final_train_loss", True), "validation accuracy": ("final_val_accuracy", False)}
"""How the best setting of a competitor is chosen: the column, and whether low is good. Test data have no part in it."""


def best(runs: pd.DataFrame) -> pd.DataFrame:
    """The best setting of each competitor by each criterion, averaged over seeds.

    A setting of which any seed diverged is worse than all others.
    """
    rows = [
        {"problem": problem, "entry": entry, "criterion": criterion} | _selected(group, column, low)
        for (problem, entry), group in runs.groupby(["problem", "entry"], sort=True)
        for criterion, (column, low) in CRITERIA.items()
    ]
    return pd.DataFrame(rows)


def _selected(runs: pd.DataFrame, column: str, low: bool) -> dict[str, Any]:
    worst = np.inf if low else -np.inf
    score = runs[column].where(runs["status"] == "completed", worst).fillna(worst)
    means = score.groupby(runs["setting"], sort=True).mean()
    chosen = str(means.idxmin() if low else means.idxmax())
    seeds = runs[runs["setting"] == chosen]
    summary: dict[str, Any] = {"setting": chosen, "n": len(seeds)}
    for name, source in (
        ("train_loss", "final_train_loss"),
        ("val_accuracy", "final_val_accuracy"),
        ("test_accuracy", "test_accuracy"),
    ):
        values = seeds[source].astype(float)
        summary |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(ddof=1)}
    return summary


# -- lines -------------------------------------------------------------------------------------------------------


def lines(finished: Sequence[FinishedRun]) -> Tables:
    """lines: one row per measured line; points: the lines that figures draw."""
    rows = [row for run in finished for row in _line_rows(run)]
    table = _sorted(pd.DataFrame(rows), ["problem", "seed", "at"])
    first = {problem: group["seed"].min() for problem, group in table.groupby("problem")}
    drawn = [_points(run) for run in finished if run.config.seed == first[run.config.problem]]
    return {
        "lines": table,
        "points": _sorted(pd.concat(drawn, ignore_index=True), ["problem", "seed", "at", "distance"]),
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


def _sorted(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return table.sort_values(columns, kind="stable").reset_index(drop=True)


MAKERS: dict[str, Callable[[Sequence[FinishedRun]], Tables]] = {"benchmark": benchmark, "lines": lines}
