"""results/<profile>/*/*.csv -> results/<profile>/claims.csv."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.paths import REPOSITORY, write_whole
from experiments.results import tables
from experiments.results.claims import margins
from experiments.results.claims.registry import all_claims
from experiments.results.claims.verdict import Evidence, judge


def judged(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """Every claim with what was measured and the verdict."""
    evidence = Evidence(profile, root)
    claims = [*all_claims(), *margins.declared(profile)]
    return pd.DataFrame([judge(claim, evidence) for claim in claims])


def write(profile: str) -> None:
    """Judge every claim and write claims.csv and, for `dvc metrics`, metrics.json in results/<profile>/."""
    found = judged(profile)
    tables.replace(found, tables.verdicts(profile))
    text = json.dumps(metrics(found), indent=2) + "\n"
    write_whole(tables.verdicts(profile).with_name("metrics.json"), text)


def metrics(verdicts: pd.DataFrame) -> dict[str, Any]:
    """The measured value of each claim, and the number of claims with each verdict."""
    known = verdicts[verdicts["verdict"] != "not measured"]
    return {
        "verdicts": {str(name): int(count) for name, count in verdicts["verdict"].value_counts().items()},
        "measured": {str(row["id"]): float(f"{row['measured']:.9g}") for row in known.to_dict("records")},
    }
