"""Fingerprints of runs: their first steps, small enough to be stored with the tables of their study.

The first numbers of a run show whether today's code still does the same as the code that produced the results: weights,
data, gradients and steps all affect the second loss.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.common import code_digest
from experiments.results.tables.common import Run

STEPS = 10
"""Number of steps that are kept."""

ENVIRONMENT = ("device", "device_type", "instruction_set", "threads", "torch")
"""Columns on which the rounding of a run depends (`runs.provenance.arithmetic`)."""

Head = dict[str, list[Any]]


def head(arrays: Mapping[str, np.ndarray]) -> Head:
    """The numbers of the first steps, from the arrays of a trace: per-step series, and measured lines.

    Rows of measured lines lose their padding with NaN, the amount of which depends on later lines.
    """
    at = arrays["lines/at"] if "lines/at" in arrays else np.empty(0)
    steps = {name: arrays[name][:STEPS].astype(float).tolist() for name in sorted(arrays) if "/" not in name}
    rows = {name: arrays[name][at < STEPS] for name in sorted(arrays) if name.startswith("lines/")}
    return steps | {name: [_whole(row) for row in np.asarray(values, float)] for name, values in rows.items()}


def _whole(row: np.ndarray) -> Any:
    if row.ndim == 0:
        return float(row)
    known = np.flatnonzero(~np.isnan(row))
    return row[: known[-1] + 1].tolist() if len(known) else []


def table(finished: Sequence[Run], module: str) -> pd.DataFrame:
    """First steps of one run of each group that differs in the seed only: config and numbers as JSON, and origin.

    Args:
        finished: Runs of one study.
        module: The module that makes its other tables.
    """
    first: dict[str, Run] = {}
    for run in finished:
        kind = run.config.model_dump_json(exclude={"seed"})
        if kind not in first or run.config.seed < first[kind].config.seed:
            first[kind] = run
    code = tables_code(module)
    rows = [
        {name: run.info["provenance"][name] for name in ENVIRONMENT}
        | {"tables_code": code, "config": run.config.model_dump_json(), "head": json.dumps(head(run.trace))}
        for run in first.values()
    ]
    return pd.DataFrame(rows).sort_values("config", kind="stable").reset_index(drop=True)


def tables_code(module: str) -> str:
    """Digest of the code of a module that makes tables."""
    return code_digest.digest("experiments.results.tables.common", module)[:16]
