"""What the profile `pilots` says of another one before that is run."""

import pandas as pd

from experiments.results import tables
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.pilots import spreads
from experiments.results.claims.registry import all_claims
from experiments.results.tables.pilots import pilots

PILOTS = "pilots"
"""The name of the profile."""


def main(profile: str) -> None:
    """Write results/<profile>/pilots.csv (spreads) and pilots-runs.csv (a row per training of the benchmark)."""
    found = pilots(*(tables.read(PILOTS, "benchmark", name) for name in ("runs", "times", "rates")))
    found["pilots"] = pd.concat([found["pilots"], spreads(all_claims(), Evidence(PILOTS))], ignore_index=True)
    for name, table in found.items():
        tables.replace(table, tables.verdicts(profile).with_name(f"{name}.csv"))
