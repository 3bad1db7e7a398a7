"""results/<profile>/*/*.csv -> results/<profile>/claims.csv, and the values and estimates behind it in claims/.

claims.csv has a row per claim, with the part that decides. claims/problems.csv has all estimates: a row per claim, part
and problem, and one per claim and part over problems. claims/values.csv has the value of every training with the keys
of its runs, from which everything can be computed again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, write_whole
from experiments.results import tables
from experiments.results.claims import margins
from experiments.results.claims.claim import Claim
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.power import declared_out_of_reach
from experiments.results.claims.registry import all_claims
from experiments.results.claims.statistics import FEWEST, OVER, decided, over_problems

UNSEEN = "this design cannot see the smallest effect of interest"
INCLUDED = "the interval includes the bound"
DISAGREE = "problems disagree"
"""Why there is no verdict, if nothing else is the reason."""

VALUE_COLUMNS = ["id", "problem", "part", "seed", "value", "floor", "key", "reference_key", "obstacle"]
JUDGED = ["part", "mean", "low", "high", "n", "problems", "rule", "bound", "smallest", "detectable", "p"]
JUDGED += ["words", "scale", "measure_unit", "verdict", "reason"]
ESTIMATE_COLUMNS = ["id", "problem", *JUDGED, "sd", "error", "df", "slack", "supported", "contradicted"]
DECLARED = ["id", "claim", "whose", "source", "test", "study", "unit", "post_hoc"]
CLAIM_COLUMNS = [*DECLARED, "figure", "scope", *JUDGED, "declared"]


@dataclass(frozen=True)
class Judgement:
    """A claim with its verdict.

    Attributes:
        row: Its row in claims.csv.
        estimates: All estimates, with the verdict of each problem.
        values: The value of every training.
    """

    row: dict[str, Any]
    estimates: pd.DataFrame
    values: pd.DataFrame


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """The verdict on one claim; "not measured", with the reason, if what it needs was not run."""
    row = {name: getattr(claim, name) for name in DECLARED}
    row |= {"figure": claim.figure or f"{claim.study}/", "scope": evidence.scope(claim.study)}
    try:
        values = values_of(claim, evidence)
    except Missing as missing:
        return _not_measured(row, str(missing))
    except KeyError as missing:
        return _not_measured(row, f"the tables have no {str(missing).strip(chr(34))}")
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"claim {claim.id}: {type(error).__name__}: {error}") from None
    if values["value"].notna().sum() == 0:
        return _not_measured(row, f"no run of {claim.study} has a value")
    problems = of_problems(claim, values)
    together = overall(claim, problems.assign(study=OVER))
    summary = deciding(together if len(together) else problems)
    verdict = {"verdict": "undecided", "reason": ""} | dict(summary)
    found = pd.concat([problems, together.assign(problem=OVER)], ignore_index=True)
    return Judgement(row | verdict, found.assign(id=claim.id), values.assign(id=claim.id))


def _not_measured(row: dict[str, Any], reason: str) -> Judgement:
    row |= {"verdict": "not measured", "reason": reason, "n": 0}
    return Judgement(row, pd.DataFrame(), pd.DataFrame())


def values_of(claim: Claim, evidence: Evidence) -> pd.DataFrame:
    """The values of a claim, with floor and obstacle: why a problem cannot decide, or ""."""
    values = claim.measure(evidence)
    if "part" not in values:
        values = values.assign(part="")
    values = values.dropna(subset=["problem", "seed"])
    values = values.astype({"part": str, "value": float})
    floors = values["part"].map({part: claim.criterion_of(part).floor for part in values["part"].unique()})
    values["floor"] = values["floor"].fillna(floors) if "floor" in values else floors
    if "obstacle" not in values:
        values["obstacle"] = ""
    if claim.regime:
        reasons = evidence.regime(claim.study, claim.regime)
        here = values["problem"].map(lambda problem: reasons.get(str(problem), ""))
        values["obstacle"] = values["obstacle"].where(values["obstacle"] != "", here)
    return values.reset_index(drop=True)


def of_problems(claim: Claim, values: pd.DataFrame) -> pd.DataFrame:
    """Estimates per problem and part, with the verdict on each problem."""
    table = with_criteria(claim, claim.summarise(values))
    obstacles = values.groupby("problem")["obstacle"].first()
    table = decided(table, ["problem"]).assign(obstacle=table["problem"].map(obstacles), pro=0, con=0, of=1)
    return with_verdict(claim, table, "problem", table)


def overall(claim: Claim, problems: pd.DataFrame) -> pd.DataFrame:
    """Estimates over the problems of each `study`, with the verdict on each study.

    Problems with an obstacle, or with fewer than four trainings, are not among them. If no problem is left, the study
    has the estimates and the reason of its first problem. An effect on one problem cannot be excluded by the mean.
    """
    counted = problems[(problems["obstacle"] == "") & (problems["n"] >= FEWEST)]
    table = over_problems(counted, ["study", "part"])
    rest = problems[~problems["study"].isin(table["study"])]
    rest = rest[rest["problem"] == rest.groupby("study")["problem"].transform("min")]
    if table.empty:
        return rest.assign(problems=0)
    table = with_criteria(claim, table.merge(balance(counted), on="study"))
    table = decided(table.assign(held=table["pro"] > 0), ["study"]).assign(obstacle="")
    table = with_verdict(claim, table, "study", problems)
    by_most = (table["verdict"] == "contradicted") & ~table.groupby("study")["contradicted"].transform("any")
    table = table.assign(p=table["p"].mask(by_most, table["p_most"]))
    return pd.concat([table, rest.assign(problems=0)], ignore_index=True) if len(rest) else table


def balance(problems: pd.DataFrame) -> pd.DataFrame:
    """How many problems of each `study` support a claim (pro), contradict it (con), and are counted (of).

    p_most, if most of them contradict, is that of the hypothesis that at most half do: the test of a partial
    conjunction by Benjamini and Heller (2008), (P - m + 1) times the m-th smallest p of P problems.
    """
    rows = []
    for study, found in problems.groupby("study"):
        each = [deciding(one) for _, one in found.groupby("problem")]
        verdicts = [one["verdict"] for one in each]
        con = verdicts.count("contradicted")
        against = sorted(one["p"] for one in each if one["verdict"] == "contradicted")
        most = len(each) // 2 + 1
        p = min(1.0, (len(each) - most + 1) * against[most - 1]) if con >= most else np.nan
        rows.append((study, verdicts.count("supported"), con, len(each), p))
    return pd.DataFrame(rows, columns=["study", "pro", "con", "of", "p_most"])


def with_criteria(claim: Claim, table: pd.DataFrame) -> pd.DataFrame:
    """Estimates with the criterion of their part."""
    criteria = {part: claim.criterion_of(part) for part in table["part"].unique()}
    fields = {name: name for name in ("rule", "bound", "smallest", "words", "scale")} | {
        "measure_unit": "unit"
    }
    columns = {
        name: table["part"].map({part: getattr(one, field) for part, one in criteria.items()})
        for name, field in fields.items()
    }
    return table.assign(**columns)


def with_verdict(claim: Claim, table: pd.DataFrame, key: str, wanted: pd.DataFrame) -> pd.DataFrame:
    """Decided estimates with verdict and reason, the same for all parts of a group.

    A claim is not supported without all of its parts and all of those in `wanted`, estimates of the same groups.
    An interval that decides does so however small an effect the design could have seen; one that does not says "out of
    reach" where this is more than the smallest effect of interest. Over problems, more of them have to support than to
    contradict, and most of them contradict whatever their mean is, which a single problem may carry.
    """
    whole = table.assign(
        short=table["n"] < FEWEST,
        blind=table["detectable"] > table["smallest"],
        absent=_absent(claim, table, key, wanted),
    )
    groups = whole.groupby(key)
    supported = groups["supported"].transform("all")
    cases = [
        (whole["obstacle"] != "", "out of reach", whole["obstacle"]),
        (groups["short"].transform("any"), "undecided", f"fewer than {FEWEST} {claim.unit}"),
        (groups["contradicted"].transform("any"), "contradicted", ""),
        (2 * whole["con"] > whole["of"], "contradicted", _most(whole)),
        (supported & (whole["absent"] != ""), "undecided", "not measured: " + whole["absent"]),
        (supported & (whole["con"] > 0) & (whole["con"] >= whole["pro"]), "undecided", DISAGREE),
        (supported, "supported", ""),
        ((whole["pro"] > 0) & (whole["con"] > 0), "undecided", DISAGREE),
        (groups["blind"].transform("any"), "out of reach", UNSEEN),
    ]
    verdict = pd.Series("undecided", table.index)
    reason = pd.Series(INCLUDED, table.index)
    for holds, word, why in reversed(cases):
        verdict, reason = verdict.mask(holds, word), reason.mask(holds, why)
    return table.assign(verdict=verdict, reason=reason)


def _most(table: pd.DataFrame) -> pd.Series:
    """On how many problems a claim is contradicted, in words."""
    return "contradicted on " + table["con"].astype(str) + " of " + table["of"].astype(str) + " problems"


def _absent(claim: Claim, table: pd.DataFrame, key: str, wanted: pd.DataFrame) -> pd.Series:
    """The parts that a group lacks, in words."""
    found, seen = (one.groupby(key)["part"].agg(set).to_dict() for one in (table, wanted))
    lacking: dict[Any, str] = {
        group: ", ".join(sorted(({*claim.parts} | seen[group]) - parts)) for group, parts in found.items()
    }
    return table[key].map(lacking)


def deciding(table: pd.DataFrame) -> dict[str, Any]:
    """The part that is furthest from its criterion being met, of those that contradict if any do, as in claims.csv."""
    refuting = table[table["contradicted"] & (table["verdict"] == "contradicted")]
    shown = refuting if len(refuting) else table
    place: Any = shown["slack"].fillna(-np.inf).idxmin()
    found = {name: table[name].loc[place] for name in JUDGED if name in table}
    return found | {"p": min(1.0, found["p"] * (len(table) if len(refuting) else 1))}


def judged(profile: str, root: Path = REPOSITORY) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """All claims with their verdicts, all estimates, and all values."""
    evidence, declared = Evidence(profile, root), declared_out_of_reach(profile, root)
    judgements = [judge(claim, evidence) for claim in [*all_claims(), *margins.declared(profile)]]
    claims = pd.DataFrame([one.row for one in judgements]).reindex(columns=CLAIM_COLUMNS)
    claims["declared"] = [declared.get(str(name), "") for name in claims["id"]]
    estimates, values = (
        pd.concat([getattr(one, name) for one in judgements]) for name in ("estimates", "values")
    )
    return with_q(claims), estimates.reindex(columns=ESTIMATE_COLUMNS), values.reindex(columns=VALUE_COLUMNS)


def with_q(claims: pd.DataFrame) -> pd.DataFrame:
    """Claims with q: p after control of the false discovery rate (Benjamini and Hochberg) over all that were tested."""
    tested = claims["p"].notna()
    claims["q"] = np.nan
    if tested.any():
        claims.loc[tested, "q"] = false_discovery_control(claims.loc[tested, "p"].astype(float))
    return claims


def write(profile: str, root: Path = REPOSITORY) -> None:
    """Judge every claim and write claims.csv, claims/ and, for `dvc metrics`, metrics.json in results/<profile>/."""
    claims, estimates, values = judged(profile, root)
    path = tables.verdicts(profile, root)
    path.parent.joinpath("claims").mkdir(parents=True, exist_ok=True)
    tables.replace(estimates, path.with_suffix("") / "problems.csv")
    tables.replace(values, path.with_suffix("") / "values.csv")
    tables.replace(claims, path)
    write_whole(path.with_name("metrics.json"), json.dumps(metrics(claims), indent=2) + "\n")


def metrics(claims: pd.DataFrame) -> dict[str, Any]:
    """The measured value of each claim, and the number of claims with each verdict."""
    known = claims[claims["verdict"] != "not measured"]
    return {
        "verdicts": {str(name): int(count) for name, count in claims["verdict"].value_counts().items()},
        "measured": {str(row["id"]): float(f"{row['mean']:.9g}") for row in known.to_dict("records")},
    }
