"""The verdicts on a terminal of 80 columns."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.common.paths import REPOSITORY
from experiments.reports import words
from experiments.results import tables

COLOURS = {
    "supported": "green",
    "contradicted": "red",
    "undecided": "yellow",
    "out of reach": "cyan",
    "not measured": "dim",
}
WIDTH = 80


def verdicts(profile: str, root: Path = REPOSITORY) -> Group:
    """The matrix, a sentence per claim, and where to read more; raises UserError if there are no verdicts."""
    claims, estimates = tables.verdicts_of(profile, root)
    places = f"report: reports/{profile}/index.html; figures: figures/{profile}/; tables: results/{profile}/"
    return Group(
        Text(f"Profile {profile}: {words.summary(claims)}\n"), *parts(claims, estimates), Text(places)
    )


def parts(claims: pd.DataFrame, estimates: pd.DataFrame) -> Iterator[RenderableType]:
    """The matrix and a sentence per claim that was measured, and the names of the others."""
    known = claims[claims["verdict"] != "not measured"]
    if len(known):
        yield _matrix(known, estimates)
        yield _legend(estimates)
        yield _sentences(known)
    absent = claims.loc[claims["verdict"] == "not measured", "id"]
    if len(absent):
        yield Text(f"Not measured: {', '.join(absent)}.\n")


def _matrix(claims: pd.DataFrame, estimates: pd.DataFrame) -> Table:
    found = words.matrix(claims, estimates)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("claim", no_wrap=True)
    table.add_column("over problems", no_wrap=True)
    for letter in found.columns[1:]:
        table.add_column(str(letter), no_wrap=True)
    for name, row in found.iterrows():
        cells = (Text(words.SYMBOLS[verdict], COLOURS[verdict]) for verdict in row.iloc[1:])
        table.add_row(str(name), Text(row.iloc[0], COLOURS[row.iloc[0]]), *cells)
    return table


def _legend(estimates: pd.DataFrame) -> Text:
    problems = ", ".join(f"{letter} {name}" for name, letter in words.letters(estimates).items())
    return Text(f"{words.symbols()}.\n{problems}.\n")


def _sentences(claims: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), width=WIDTH)
    table.add_column("claim", no_wrap=True)
    table.add_column("measured")
    for row in claims.to_dict("records"):
        why = "" if pd.isna(row["reason"]) or not row["reason"] else f" {words.capital(row['reason'])}."
        name = Text(f"{row['id']}\n") + Text(row["verdict"], COLOURS[row["verdict"]])
        table.add_row(name, f"{words.sentence(row)}{why}")
    return table
