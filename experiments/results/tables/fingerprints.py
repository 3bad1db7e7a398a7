"""What a run did in its first steps, small enough to be kept beside the tables of its study.

The first numbers of a run tell whether today's code still does what the code did that made the results: weights, data,
gradients and steps all enter the second loss.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.common import code_digest
from experiments.results.tables.common import Run

STEPS = 10
"""Steps whose numbers are kept."""

ENVIRONMENT = ("device", "threads", "torch")
"""Where these are the same, the same code gives the same bits."""

Head = dict[str, list[Any]]


def head(arrays: Mapping[str, np.ndarray]) -> Head:
    """The numbers of the first steps, from the arrays of a trace: series of all steps, and measured lines.

    The rows of measured lines lose the NaN at their end: how many there are depends on later lines.
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
    """The first steps of one of the runs that differ in their seed only: config and numbers as JSON, and where made.

    Args:
        finished: Runs of one study.
        module: What makes its other tables.
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
