"""What each claim could see at the planned number of trainings, given the spread in pilots.

results/<profile>/pilots.csv has the columns problem, measure, sd and n_seeds. The measure is the id of a claim (and the
name of a criterion, if it has several), for the standard deviation of its value; or the name of a column of the tables,
for that of one training (log10 for losses). A difference of two trainings then counts with sqrt(2) times as much, as if
pairs were independent, which errs on the safe side. A problem without pilots has the largest spread of all others.

results/<profile>/power.csv, which is committed before the runs, says what is out of reach beforehand, and why.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.common.paths import REPOSITORY
from experiments.results import tables
from experiments.results.claims.claim import Claim
from experiments.results.claims.statistics import FEWEST, OVER, detectable, over_problems

Plan = Mapping[tuple[str, str], Mapping[str, int]]
"""For each study and phase, the number of trainings that are judged per problem."""


def declared_out_of_reach(profile: str, root: Path = REPOSITORY) -> dict[str, str]:
    """The claims that power.csv declares out of reach, with the reason; none if there is no such file."""
    path = power_file(profile, root)
    if not path.is_file():
        return {}
    table = tables.load(path, profile)
    return dict(table.loc[(table["problem"] == OVER) & table["reason"].notna(), ["id", "reason"]].to_numpy())


def power_file(profile: str, root: Path = REPOSITORY) -> Path:
    """The file that says what a profile can see."""
    return root / "results" / profile / "power.csv"


def read_pilots(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """The spread in pilots; raises UserError if there are none, or if they are no such table."""
    return tables.load(root / "results" / profile / "pilots.csv", profile)


def power(claims: Sequence[Claim], planned: Plan, pilots: pd.DataFrame) -> pd.DataFrame:
    """A row per claim and problem, and one per claim over problems.

    Columns: id, problem, n, unit, sd, detectable (with 80 % power), smallest (effect of interest), reason (why it is
    out of reach, or ""). Of several criteria, the one that is hardest to meet over problems is shown.

    Args:
        claims: The claims.
        planned: For each study and phase the number of trainings per problem, or of cells.
        pilots: As `read_pilots` returns them.
    """
    rows = [
        row for claim in claims for row in _rows(claim, planned.get((claim.study, claim.phase), {}), pilots)
    ]
    return pd.DataFrame(
        rows, columns=["id", "problem", "n", "unit", "sd", "detectable", "smallest", "reason"]
    )


def _rows(claim: Claim, planned: Mapping[str, int], pilots: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of one claim."""
    same: dict[str, Any] = {"id": claim.id, "unit": claim.unit}
    if not planned:
        empty = dict.fromkeys(("sd", "detectable", "smallest"), np.nan)
        return [
            same
            | {"problem": OVER, "n": 0}
            | empty
            | {"reason": f"the profile plans no runs of {claim.study} for {claim.phase}"}
        ]
    tables = [_of_criterion(claim, name, planned, pilots) for name in claim.criteria]
    hardest = max(tables, key=lambda rows: _difficulty(rows[-1]))
    return [same | row | {"reason": _reason(row, claim)} for row in hardest]


def _difficulty(row: Mapping[str, Any]) -> float:
    """What can be seen as a multiple of what is of interest."""
    return float(np.nan_to_num(row["detectable"] / row["smallest"], nan=np.inf))


def _of_criterion(
    claim: Claim, name: str, planned: Mapping[str, int], pilots: pd.DataFrame
) -> list[dict[str, Any]]:
    """The rows of one criterion per problem, and over problems in the end."""
    parts = max(claim.tests, len(claim.parts))
    found = [_seen(claim, name, parts, problem, n, pilots) for problem, n in planned.items()]
    table = pd.DataFrame(found).assign(part="")
    counted = table[(table["n"] >= FEWEST) & table["error"].notna()]
    if counted.empty:
        return [*found, found[0] | {"problem": OVER}]
    over = over_problems(counted).assign(parts=parts, within=counted["within"].iloc[0])
    over["detectable"] = detectable(over["error"], over["df"], over["within"], over["parts"])
    seen: dict[Any, Any] = over.iloc[0].to_dict()
    return [*found, seen | {"problem": OVER, "sd": np.nan, "smallest": counted["smallest"].iloc[0]}]


def _reason(row: Mapping[str, Any], claim: Claim) -> str:
    """Why an effect of the smallest size of interest cannot be seen; "" if it can."""
    if row["n"] < FEWEST:
        return f"{row['n']} {claim.unit}, a verdict needs {FEWEST}"
    if np.isnan(row["detectable"]):
        return "no pilot tells the spread"
    return (
        ""
        if row["detectable"] <= row["smallest"]
        else f"sees {row['detectable']:.2g}, wanted {row['smallest']:.2g}"
    )


def _seen(claim: Claim, name: str, parts: int, problem: str, n: int, pilots: pd.DataFrame) -> dict[str, Any]:
    criterion = claim.criteria[name]
    sd = (
        claim.spread(n)
        if claim.spread
        else float(np.maximum(_sd(claim, name, problem, pilots), criterion.floor))
    )
    error, df, within = sd / np.sqrt(max(n, 1)), max(n - 1.0, 1.0), criterion.rule == "within"
    known = (pd.Series([value]) for value in (error, df, within, parts))
    return {
        "problem": problem,
        "n": n,
        "mean": 0.0,
        "sd": sd,
        "error": error,
        "df": df,
        "within": within,
        "detectable": float(detectable(*known).iloc[0]),
        "smallest": criterion.smallest,
    }


def pilot_name(claim: Claim, criterion: str) -> str:
    """What pilots.csv calls the value of a claim that one of its criteria is about."""
    return ", ".join(filter(None, [claim.id, criterion]))


def _sd(claim: Claim, name: str, problem: str, pilots: pd.DataFrame) -> float:
    """The spread of a value: of this problem or else the largest of all; NaN if there is none.

    The value itself and single trainings are looked up in this order, each first on this problem.
    """
    criterion = claim.criteria[name]
    measures = {pilot_name(claim, name): 1.0, criterion.pilot: np.sqrt(criterion.trainings)}
    known = pilots[pilots["measure"].isin(measures)]
    known = known.assign(sd=known["sd"] * known["measure"].map(measures)).dropna(subset=["sd"])
    here = known[known["problem"] == problem]
    for measure in measures:
        found = here.loc[here["measure"] == measure, "sd"]
        if len(found):
            return float(found.max())
    return float(known["sd"].max())
