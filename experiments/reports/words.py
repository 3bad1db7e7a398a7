"""Verdicts in words: one sentence per claim, and the matrix of claims and problems."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.common.labels import label
from experiments.results.claims.statistics import OVER, SCALES, effect_sought

SYMBOLS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "out of reach": "–", "not measured": ""}
"""Verdicts in the matrix."""

OWNERS = {
    "paper": "Claims of the paper",
    "another paper": "Claims of another paper",
    "ours": "Claims of this replication",
}

Row = Mapping[Any, Any]


def sentence(row: Row) -> str:
    """What was measured, with interval and n, such as "PAL's training loss is 0.12 lower in log10 than ..."."""
    choice = re.search(r"\[([^|\]]+)\|([^\]]+)\]", row["words"])
    low, mean, high = (float(row[name]) for name in ("low", "mean", "high"))
    if choice:
        words = row["words"].replace(choice[0], choice[1] if mean >= 0 else choice[2])
        low, mean, high = (low, mean, high) if mean >= 0 else (-high, -mean, -low)
    else:
        words = row["words"]
    text = words.replace("{value}", number(mean, row)).replace("{part}", part(row["part"]))
    interval = "" if pd.isna(low) else f"95% interval {number(low, row)} to {number(high, row)}; "
    return f"{capital(text)} ({interval}{count(row)})."


def capital(text: str) -> str:
    """The same with a capital letter first."""
    return text[:1].upper() + text[1:]


def number(value: float, row: Row) -> str:
    """A value as it is shown: three digits, on the scale of its criterion."""
    return f"{SCALES[scale(row)](min(value, 700.0)):.3g}".replace("-", "−")


def scale(row: Row) -> str:
    """The scale of a row of a table, where an empty one is missing."""
    return "" if pd.isna(row["scale"]) else str(row["scale"])


def part(name: Any) -> str:
    """A part in words: "loss, sls" is about SLS."""
    words = [] if pd.isna(name) else str(name).split(", ")
    return ", ".join(label(word) for word in words if word not in ("loss", "accuracy"))


def rule(row: Row) -> str:
    """When a claim is supported, what is of interest, and what could have been seen."""
    bound = number(row["bound"], row)
    if row["rule"] == "within":
        return (
            f"Supported if the whole interval is within ±{bound}, contradicted if it is outside. This design "
            f"could have shown equality within {row['detectable']:.2g} (80 % power)."
        )
    side, other = ("above", "below") if row["rule"] == "above" else ("below", "above")
    seen = f"this design could have seen {row['detectable']:.2g} (80 % power)"
    if effect_sought(row):
        sign = -1 if side == "below" else 1
        excluded = f"{number(sign * row['smallest'], row)}, the smallest effect of interest"
        return f"Supported if the whole interval is {side} {bound}, contradicted if it is {other} {excluded}; {seen}."
    return (
        f"Supported if the whole interval is {side} {bound}, contradicted if it is {other}. Smallest effect of "
        f"interest: {row['smallest']:.2g} {row['measure_unit']}; {seen}."
    )


def count(row: Row) -> str:
    """n with its unit."""
    n, problems = int(row["n"]), row.get("problems")
    across = (
        ""
        if pd.isna(problems) or problems < 1
        else f" on {int(problems)} problem{'s' if problems > 1 else ''}"
    )
    return f"n = {n} {row['unit']}{across}"


def letters(estimates: pd.DataFrame) -> dict[str, str]:
    """A letter for each problem, those of most claims first; after Z follow AA, AB."""
    known = estimates[estimates["problem"] != OVER].drop_duplicates(["id", "problem"])
    order = known.groupby("problem").size().reset_index(name="claims")
    names = order.sort_values(["claims", "problem"], ascending=[False, True])["problem"]
    return {name: _letter(place) for place, name in enumerate(names)}


def _letter(place: int) -> str:
    return chr(65 + place) if place < 26 else chr(64 + place // 26) + chr(65 + place % 26)


def matrix(claims: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Verdicts: a row per claim, in the order of claims; a column over problems, and one per problem by its letter."""
    columns = letters(estimates)
    verdicts = estimates.drop_duplicates(["id", "problem"]).pivot(
        index="id", columns="problem", values="verdict"
    )
    found = verdicts.reindex(index=claims["id"], columns=list(columns)).rename(columns=columns)
    found.insert(0, OVER, claims.set_index("id")["verdict"])
    return found.fillna("not measured")


def summary(claims: pd.DataFrame) -> str:
    """How many claims have which verdict."""
    counts = claims["verdict"].value_counts()
    words = ", ".join(f"{counts[name]} {name}" for name in SYMBOLS if name in counts)
    return f"{len(claims)} claims: {words}."


def multiplicity(claims: pd.DataFrame) -> str:
    """How many tests there were, and which verdicts a correction for their number leaves."""
    tested = claims[claims["p"].notna()] if "p" in claims else claims.iloc[:0]
    decided = tested[tested["verdict"].isin(["supported", "contradicted"])]
    lost = ", ".join(f"`{name}`" for name in decided.loc[decided["q"] > 0.05, "id"])
    return (
        f"{len(tested)} claims were tested, each with an error of at most 5 %; if none of them had any effect, about "
        f"{0.05 * len(tested):.1f} would have a verdict by chance. Of the {len(decided)} verdicts, "
        f"{(decided['q'] <= 0.05).sum()} remain if the false discovery rate over all claims is held at 5 % "
        "(Benjamini and Hochberg)" + (f"; these do not: {lost}." if lost else ".")
    )


def symbols() -> str:
    """The legend of the matrix."""
    words = (f"{symbol} {name}" for name, symbol in SYMBOLS.items() if symbol)
    return f"{', '.join(words)}, empty: not measured"
