"""Which effects the claims of a profile can detect with its planned number of trainings."""

from collections import Counter, defaultdict
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table

from experiments.planning import load_profile
from experiments.results import tables
from experiments.results.claims.power import Plan, power, power_file, read_pilots
from experiments.results.claims.registry import all_claims
from experiments.results.claims.statistics import OVER


def main(profile: str) -> Group:
    """Write results/<profile>/power.csv and return it as tables; raises UserError if there are no pilots."""
    table = power(all_claims(), planned(profile), read_pilots(profile))
    tables.replace(table, power_file(profile))
    return shown(table, profile)


def planned(profile: str) -> Plan:
    """The number of trainings per problem of each study and phase; for `capacity`, of cells per data set."""
    profiles = load_profile(profile).items()
    parts = [
        (study, part) for study, some in profiles for one in some for part in getattr(one, "parts", [one])
    ]
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for study, part in parts:
        for problem in part.problems:
            if study == "capacity":
                found[study, "evaluation"][problem.partition("-")[0]] += len(part.train_sizes)
                continue
            for phase, seeds in (
                ("evaluation", part.seeds),
                ("selection", getattr(part, "selection_seeds", [])),
            ):
                found[study, phase][problem] = max(found[study, phase][problem], len(seeds))
    return {key: +counts for key, counts in found.items()}  # without zeros


def shown(table: pd.DataFrame, profile: str) -> Group:
    """One row per claim, over problems, and the claims that are out of reach with the reason; fits into 80 columns."""
    over = table[table["problem"] == OVER]
    seen = Table(box=box.SIMPLE_HEAD, title=f"What the claims of profile {profile} can see (80 % power)")
    for name, justify in (("claim", "left"), ("n", "right"), ("sees", "right"), ("of interest", "right")):
        seen.add_column(name, justify=justify, no_wrap=name == "claim")  # pyright: ignore[reportArgumentType]
    seen.add_column("")
    for row in over.to_dict("records"):
        seen.add_row(
            row["id"],
            str(row["n"]),
            *map(_number, (row["detectable"], row["smallest"])),
            row["reason"] or "yes",
        )
    within = (over["reason"] == "").sum()
    places = f"By problem: results/{profile}/power.csv. {within} of {len(over)} claims can see their smallest effect."
    return Group(seen, places)


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"
