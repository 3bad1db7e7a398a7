"""What each claim could see at the planned number of trainings, given the spread in pilots.

results/<profile>/pilots.csv has the columns problem, measure, sd and n_seeds. The measure is the id of a claim, for the
standard deviation of its value; or the name of a column of the tables, for that of one training (log10 for losses). A
difference of two trainings then counts with sqrt(2) times as much, as if pairs were independent, which errs on the safe
side.

results/<profile>/power.csv, which is committed before the runs, says what is out of reach beforehand, and why.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.results.claims.claim import Claim
from experiments.results.claims.statistics import FEWEST, OVER, Criterion, detectable, over_problems

Plan = Mapping[tuple[str, str], Mapping[str, int]]
"""For each study and phase, the number of trainings that are judged per problem."""


def declared_out_of_reach(profile: str, root: Path = REPOSITORY) -> dict[str, str]:
    """The claims that power.csv declares out of reach, with the reason; none if there is no such file."""
    path = power_file(profile, root)
    if not path.is_file():
        return {}
    table = pd.read_csv(path, keep_default_na=False)
    return dict(table.loc[(table["problem"] == OVER) & (table["reason"] != ""), ["id", "reason"]].to_numpy())


def power_file(profile: str, root: Path = REPOSITORY) -> Path:
    """The file that says what a profile can see."""
    return root / "results" / profile / "power.csv"


def read_pilots(profile: str, root: Path = REPOSITORY) -> pd.DataFrame:
    """The spread in pilots; raises UserError if there are none, or if they are no such table."""
    path = root / "results" / profile / "pilots.csv"
    if not path.is_file():
        raise UserError(
            f"{path} is not there: a table of problem, measure, sd and n_seeds from pilot trainings"
        )
    pilots = pd.read_csv(path)
    absent = sorted({"problem", "measure", "sd", "n_seeds"} - set(pilots))
    if absent:
        raise UserError(f"{path} has no column {absent[0]!r}; it needs problem, measure, sd and n_seeds")
    return pilots


def power(claims: Sequence[Claim], planned: Plan, pilots: pd.DataFrame) -> pd.DataFrame:
    """A row per claim and problem, and one per claim over problems.

    Columns: id, problem, n, unit, sd, detectable (with 80 % power), smallest (effect of interest), reason (why it is
    out of reach, or ""). Of several parts, the one that is hardest to see is shown.

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
    parts = max(claim.tests, len(claim.parts))
    found = [_hardest(claim, parts, problem, n, pilots) for problem, n in planned.items()]
    table = pd.DataFrame(found).assign(part="")
    counted = table[(table["n"] >= FEWEST) & table["error"].notna()]
    if len(counted):
        one = over_problems(counted).assign(parts=parts, within=counted["within"].iloc[0])
        one["detectable"] = detectable(one["error"], one["df"], one["within"], one["parts"])
        seen: dict[Any, Any] = one.iloc[0].to_dict()
        found.append(seen | {"problem": OVER, "sd": np.nan, "smallest": counted["smallest"].iloc[0]})
    else:
        found.append(found[0] | {"problem": OVER})
    return [same | row | {"reason": _reason(row, claim)} for row in found]


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


def _hardest(claim: Claim, parts: int, problem: str, n: int, pilots: pd.DataFrame) -> dict[str, Any]:
    """Error and detectable effect on one problem, for the part that is hardest to see."""
    criteria = [claim.criterion] if isinstance(claim.criterion, Criterion) else list(claim.criterion.values())
    rows = [_seen(claim, one, parts, problem, n, pilots) for one in criteria]
    return max(rows, key=lambda row: np.nan_to_num(row["detectable"] / row["smallest"], nan=np.inf))


def _seen(
    claim: Claim, criterion: Criterion, parts: int, problem: str, n: int, pilots: pd.DataFrame
) -> dict[str, Any]:
    sd = (
        claim.spread(n)
        if claim.spread
        else float(np.maximum(_sd(claim, criterion, problem, pilots), criterion.floor))
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


def _sd(claim: Claim, criterion: Criterion, problem: str, pilots: pd.DataFrame) -> float:
    """The spread of a value: of this problem or else the largest of all; NaN if there is none."""
    for measure, factor in ((claim.id, 1.0), (criterion.pilot, np.sqrt(criterion.trainings))):
        known = pilots[pilots["measure"] == measure]
        here = known[known["problem"] == problem]
        if len(known):
            return float((here if len(here) else known)["sd"].max() * factor)
    return float("nan")
