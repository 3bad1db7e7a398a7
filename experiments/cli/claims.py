"""The verdicts on a terminal."""

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.common.errors import UserError
from experiments.reports import markdown
from experiments.results import tables
from experiments.results.claims import judge

COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow", "not measured": "dim"}


def write(profile: str) -> int:
    """Judge every claim."""
    judge.write(profile)
    return 0


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
