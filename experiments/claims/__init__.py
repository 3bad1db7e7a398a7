"""The paper's claims, each with a test declared beforehand, judged by the tables."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments import files, markdown, tables
from experiments.claims import (
    ablation,
    adaptation,
    batchsize,
    benchmark,
    capacity,
    exactness,
    fullbatch,
    interpolation,
    lines,
)
from experiments.claims.verdict import Evidence, judge
from experiments.errors import UserError
from experiments.source import REPOSITORY

CLAIMS = [
    *lines.CLAIMS,
    *adaptation.CLAIMS,
    *exactness.CLAIMS,
    *fullbatch.CLAIMS,
    *interpolation.CLAIMS,
    *benchmark.CLAIMS,
    *ablation.CLAIMS,
    *batchsize.CLAIMS,
    *capacity.CLAIMS,
]
COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow", "not measured": "dim"}


def judged(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """Every claim with what was measured and the verdict."""
    evidence = Evidence(profile, root)
    return pd.DataFrame([judge(claim, evidence) for claim in CLAIMS])


def main(profile: str) -> int:
    """Judge every claim and write claims.csv and, for `dvc metrics`, metrics.json in results/<profile>/."""
    verdicts = judged(profile)
    tables.replace(verdicts, tables.verdicts(profile))
    text = json.dumps(metrics(verdicts), indent=2) + "\n"
    files.write_whole(tables.verdicts(profile).with_name("metrics.json"), text)
    return 0


def metrics(verdicts: pd.DataFrame) -> dict[str, Any]:
    """The measured value of every claim, and how many claims have which verdict."""
    known = verdicts[verdicts["verdict"] != "not measured"]
    return {
        "verdicts": {str(name): int(count) for name, count in verdicts["verdict"].value_counts().items()},
        "measured": {str(row["id"]): float(f"{row['measured']:.9g}") for row in known.to_dict("records")},
    }


def show(profile: str) -> int:
    """Print the verdicts and where to look."""
    if not tables.verdicts(profile).is_file():
        raise UserError(
            f"{tables.verdicts(profile)} is not there; `make reproduce PROFILE={profile}` makes it"
        )
    verdicts = pd.read_csv(tables.verdicts(profile))
    console = Console()
    table = Table(
        "claim", "measured", "95 % interval", "n", "verdict", title=f"The paper's claims, profile {profile}"
    )
    for row in verdicts.to_dict("records"):
        known = row["verdict"] != "not measured"
        numbers = (f"{row['measured']:.3g}", markdown.interval(row), str(row["n"])) if known else ("", "", "")
        table.add_row(str(row["claim"]), *numbers, f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]")
    console.print(table)
    for folder, what in (
        ("reports", "the report: open index.html"),
        ("figures", "PNG and PDF"),
        ("results", "tables"),
    ):
        console.print(f"  {folder}/{profile}/  {what}", highlight=False)
    return 0
