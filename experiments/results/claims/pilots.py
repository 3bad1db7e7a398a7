"""The spread over seeds of what claims are judged by, from pilot trainings."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.results.claims.claim import Claim
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.power import pilot_name

COLUMNS = ["problem", "measure", "sd", "mean", "n_seeds"]


def spreads(claims: Sequence[Claim], evidence: Evidence) -> pd.DataFrame:
    """A row per claim, criterion and problem with at least two seeds: the standard deviation of a value over seeds.

    It is pooled over the parts of a criterion (root of the mean variance). Claims whose runs the pilots lack, and those
    whose spread needs no pilot, have no row.

    Args:
        claims: The claims.
        evidence: The tables of the pilots.
    """
    rows = [row for claim in claims if not claim.spread for row in _rows(claim, evidence)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(claim: Claim, evidence: Evidence) -> Iterator[dict[str, Any]]:
    try:
        values = claim.measure(evidence)
    except (Missing, KeyError):
        return
    values = values.assign(part=values["part"].astype(str) if "part" in values else "")
    trainings = values.groupby(["problem", "part", "seed"])["value"].mean().reset_index()
    names = trainings["part"].map(claim.criterion_name)
    for (problem, name), group in trainings.groupby(["problem", names]):
        parts = group.groupby("part")["value"]
        if parts.count().max() > 1:
            yield {
                "problem": problem,
                "measure": pilot_name(claim, str(name)),
                "sd": float(np.sqrt(parts.var(ddof=1).mean())),
                "mean": float(group["value"].mean()),
                "n_seeds": int(parts.count().max()),
            }
