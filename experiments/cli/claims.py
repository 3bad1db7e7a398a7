"""The verdicts on a terminal."""

import pandas as pd
from rich.table import Table

from experiments.common.errors import UserError
from experiments.reports import markdown
from experiments.results import tables

COLOURS = {"supported": "green", "contradicted": "red", "undecided": "yellow", "not measured": "dim"}


def table(profile: str) -> Table:
    """The verdicts, and where to look; raises UserError if there are none."""
    path = tables.verdicts(profile)
    if not path.is_file():
        raise UserError(f"{path} is not there; `make reproduce PROFILE={profile}` makes it")
    shown = Table(
        *("claim", "measured", "95 % interval", "n", "verdict"),
        title=f"The paper's claims, profile {profile}",
        caption=f"report: reports/{profile}/index.html; figures: figures/{profile}/; tables: results/{profile}/",
    )
    for row in pd.read_csv(path).to_dict("records"):
        known = row["verdict"] != "not measured"
        numbers = (f"{row['measured']:.3g}", markdown.interval(row), str(row["n"])) if known else ("", "", "")
        shown.add_row(str(row["claim"]), *numbers, f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]")
    return shown
