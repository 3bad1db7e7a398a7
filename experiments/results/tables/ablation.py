"""Tables of the ablations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.tables.common import (
    Run,
    Tables,
    accuracy,
    in_rows,
    log_losses,
    measured_lines,
    short_key,
)
from experiments.results.tables.intervals import mean_interval
from experiments.results.tables.trainings import run_row

REFUSED = 4
"""Cases from this number on are steps that a safeguard undid (`experiments.optimizers.variants.Refusal`)."""

PAIRED = ["problem", "steps", "seed"]
"""The columns in which a variant and its reference agree, besides the name and setting of the reference."""


KEPT = ("phase", "status", "final_data_loss", "final_val_accuracy", "final_val_accuracy_reestimated")
KEPT += ("test_accuracy", "test_accuracy_reestimated")
KEPT += ("normal_fraction", "clipped_fraction", "uninformative_fraction")
"""Columns that are as in the tables of any training."""


def ablation(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; differences: each variant minus its reference with the same weights; effects: means."""
    order = ["part", "problem", "variant", "dtype", "mu", "setting", "seed"]
    runs = in_rows(pd.DataFrame([_row(run) for run in finished]), order)
    differences = _differences(runs)
    return {"runs": runs, "differences": differences, "effects": _effects(differences)}


def _row(run: Run) -> dict[str, Any]:
    """The results of a run.

    part: mu (plain PAL) or variants. problem: without the suffix of problems that are never shuffled, which makes the
    run a variant. reference: the method that it is compared with, or itself. final_train_loss: mean l(0) since the last
    evaluation but one, including the L2 term even if the searched loss lacks it. Fractions of steps: see
    `trainings.fractions`; refused_fraction: those that a safeguard undid. median_step: distance in weight space;
    median_learning_rate: step / ||d||.
    """
    row, cases = run_row(run), run.trace["case"]
    variant = run.config.method.removesuffix(f"-{run.config.dtype}")
    known = {
        "part": "mu" if variant == "pal" else "variants",
        "problem": run.config.problem.removesuffix("-unshuffled"),
        "variant": variant,
        "setting": run.config.setting,
        "reference": (run.config.reference or variant).partition(" ")[0],
        "reference_setting": (run.config.reference or "").partition(" ")[2],
        "dtype": run.config.dtype,
        "mu": run.config.settings.get("mu"),
        "seed": run.config.seed,
        "steps": run.config.steps,
    } | short_key(run)
    return known | {
        **{name: row[name] for name in KEPT},
        "final_train_loss": _with_l2(run),
        "final_val_loss": run.result["final_val_loss"],
        "refused_fraction": float(np.mean(cases >= REFUSED)),
        "median_step": float(np.nanmedian(run.trace["step"])),
        "median_learning_rate": float(np.nanmedian(run.trace["learning_rate"])),
    }


def _with_l2(run: Run) -> float | None:
    loss, beside = run.result["final_train_loss"], measured_lines(run).get("l2")
    if loss is None or beside is None:
        return loss
    evaluated = run.trace["evaluations/evaluation_step"].astype(int)
    since = evaluated[-2] if len(evaluated) > 1 else 0
    return float(loss + beside[since:].mean())


def _differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Variant minus reference, one row per pair and quantity; a training that diverged has accuracy 0 and no loss.

    mu is that of the variant.
    """
    known = [*PAIRED, "variant", "setting", "reference", "reference_setting", "mu", "dtype"]
    values = runs[known].assign(
        val_accuracy=accuracy(runs),
        log10_train_loss=log_losses(runs["final_train_loss"].astype(float)),
        val_loss=runs["final_val_loss"].astype(float),
        normal_fraction=runs["normal_fraction"].astype(float),
    )
    names = list(values.columns[-4:])
    plain = values.loc[values["dtype"] == "float32", [*PAIRED, "variant", "setting", *names]]
    plain = plain.rename(columns={"variant": "reference", "setting": "reference_setting"})
    changed = values[values["variant"] != values["reference"]]
    pairs = changed.merge(
        plain, on=[*PAIRED, "reference", "reference_setting"], suffixes=("", "_of_reference")
    )
    for name in names:
        pairs[name] -= pairs[f"{name}_of_reference"]
    long = pairs.melt([*PAIRED, "reference", "mu", "variant", "setting"], names, "quantity", "difference")
    return in_rows(long, ["quantity", "problem", "variant", "reference", "setting", "steps", "seed"])


def _effects(differences: pd.DataFrame) -> pd.DataFrame:
    """Mean difference of each variant on each problem, with its 95 % interval over pairs."""
    known = differences.dropna(subset=["difference"])
    names = ["quantity", "problem", "reference", "variant"]
    groups = known.groupby(names, sort=True)["difference"]
    rows = [dict(zip(names, values, strict=True)) | _mean(each.to_numpy()) for values, each in groups]
    return pd.DataFrame(rows, columns=[*names, "mean", "low", "high", "n"])


def _mean(values: np.ndarray) -> dict[str, Any]:
    low, high = mean_interval(values)
    return {"mean": values.mean(), "low": low, "high": high, "n": len(values)}
