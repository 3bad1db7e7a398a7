"""What the claims of a profile can see at its planned number of trainings."""

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
    """The number of fresh trainings per problem of each study; for `capacity`, the number of cells per data set."""
    found: dict[str, dict[str, int]] = {}
    for study, sections in load_profile(profile).items():
        parts = [part for section in sections for part in getattr(section, "parts", [section])]
        counts = found.setdefault(study, {})
        for part in parts:
            for problem in part.problems:
                if study == "capacity":
                    family = problem.partition("-")[0]
                    counts[family] = counts.get(family, 0) + len(part.train_sizes)
                else:
                    counts[problem] = max(counts.get(problem, 0), len(part.seeds))
    return found


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
