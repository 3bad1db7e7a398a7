"""The paper's claims, each with a test declared beforehand, judged by the tables."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments import tables
from experiments.claims import benchmark, lines
from experiments.claims.verdict import Evidence, judge
from experiments.errors import UserError
from experiments.source import REPOSITORY

CLAIMS = [*lines.CLAIMS, *benchmark.CLAIMS]
COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow", "not measured": "dim"}


def judged(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """Every claim with what was measured and the verdict."""
    evidence = Evidence(profile, root)
    return pd.DataFrame([judge(claim, evidence) for claim in CLAIMS])


def path(profile: str, root: Path = REPOSITORY) -> Path:
    """Where a profile's verdicts are."""
    return root / "results" / profile / "claims.csv"


def main(profile: str) -> int:
    """Judge every claim and write results/<profile>/claims.csv."""
    tables.replace(judged(profile), path(profile))
    return 0


def show(profile: str) -> int:
    """Print the verdicts and where to look."""
    if not path(profile).is_file():
        raise UserError(f"{path(profile)} is not there; `make reproduce PROFILE={profile}` makes it")
    verdicts = pd.read_csv(path(profile))
    console = Console()
    table = Table(
        "claim", "measured", "95 % interval", "n", "verdict", title=f"The paper's claims, profile {profile}"
    )
    for row in verdicts.to_dict("records"):
        known = row["verdict"] != "not measured"
        numbers = (
            (f"{row['measured']:.3g}", f"{row['low']:.3g} to {row['high']:.3g}", str(row["n"]))
            if known
            else ("", "", "")
        )
        table.add_row(str(row["claim"]), *numbers, f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]")
    console.print(table)
    for folder, what in (
        ("reports", "the report: open index.html"),
        ("figures", "PNG and PDF"),
        ("results", "tables"),
    ):
        console.print(f"  {folder}/{profile}/  {what}", highlight=False)
    return 0
