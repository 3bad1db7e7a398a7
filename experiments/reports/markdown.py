"""The report as Markdown: reports/<profile>/REPORT.md, and the table of verdicts in the README."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.git import git
from experiments.common.paths import REPOSITORY, write_whole
from experiments.reports import words
from experiments.results import missing, tables
from experiments.results.claims.judge import INCLUDED, UNSEEN
from experiments.results.claims.statistics import OVER


def write(profile: str, root: Path = REPOSITORY) -> Path:
    """Write the matrix of claims and problems, every claim in full, and all figures."""
    claims, estimates = tables.verdicts_of(profile, root)
    pictures = sorted((root / "figures" / profile).rglob("*.png"))
    parts = [
        f"# PAL: which claims of the paper hold, profile `{profile}`",
        made(profile, root),
        f"{words.summary(claims)} {INTRODUCTION}",
        *_incomplete(profile, root),
        "## Claims and problems",
        *matrix(claims, estimates),
        "## How to read this",
        TERMS,
        words.multiplicity(claims),
        *(part for whose in words.OWNERS for part in _claims_of(whose, claims, estimates, profile)),
        "## Figures",
        "Each figure is also available as a PDF, with a JSON file that lists the tables, runs and commits behind it.",
        *(
            f"### {at.parent.name}: {at.stem}\n\n![{at.stem}](../../{at.relative_to(root)})"
            for at in pictures
        ),
    ]
    return write_whole(root / "reports" / profile / "REPORT.md", "\n\n".join(parts) + "\n")


def _incomplete(profile: str, root: Path) -> list[str]:
    """Which studies lack runs."""
    studies = sorted(path.parent.name for path in (root / "results" / profile).glob("*/missing.csv"))
    lines = [
        f"- `{study}`: {missing.words(profile, study, root)}, named in "
        f"[missing.csv](../../results/{profile}/{study}/missing.csv)"
        for study in studies
    ]
    if not lines:
        return []
    return ["**This report is incomplete.** Run the same command again to complete it.", "\n".join(lines)]


INTRODUCTION = (
    "A claim is supported if the whole 95 % interval is on its side of the bound, contradicted if it is on the other "
    "side. A claim that there is an effect is contradicted, too, if the interval excludes the smallest effect of "
    "interest and no problem shows one. Over several problems this is about the mean of their means; besides, more "
    "problems have to support a claim than contradict it, and it is contradicted if most of them contradict it, since "
    "a single problem may carry the mean. A claim is out of reach if smaller effects are of interest than this design "
    "could have seen with 80 % power, or if the trainings did not reach the state that it is about; undecided if "
    "neither, or if problems disagree; and never decided by fewer than 4 trainings."
)

TERMS = """\
* *n* counts trainings, or pairs of trainings with the same seed, as it says. Problems are not counted as trainings: the
  estimate over problems is the mean of their means, with the error of all of them (Satterthwaite's degrees of freedom),
  and holds for these problems only.
* Claims about several rivals or directions need every single test (intersection-union), and are contradicted by any one
  at a level divided by their number. The number shown is that of the test which is furthest from being met.
* Hyper-parameters are selected on separate seeds; verdicts are from fresh seeds.
* Where our statements about the paper come from: *[certain]*: its abstract, reviews, documentation or code;
  *[read off]*: a figure, by eye; *[recollection]*: memory of the paper's text, which was not available.
* *post hoc*: the test was changed after data had been seen, and is not confirmed until fresh seeds do."""


USUAL = ("", "nan", UNSEEN, INCLUDED)
"""Reasons that the verdict tells already."""


def made(profile: str, root: Path = REPOSITORY) -> str:
    """When and from what the report was made."""
    commits: set[str] = set()
    for path in (root / "results" / profile).glob("*/provenance.csv"):
        commits |= set(tables.load(path, profile)["commit"].dropna().str[:12])
    runs = (
        f"; runs of commit{'s' if len(commits) > 1 else ''} {', '.join(sorted(commits))}" if commits else ""
    )
    return f"Generated on {datetime.now(UTC):%Y-%m-%d} by commit {(git('rev-parse', 'HEAD') or 'unknown')[:12]}{runs}."


def matrix(claims: pd.DataFrame, estimates: pd.DataFrame) -> list[str]:
    """The matrix as a table, and its legend."""
    found = words.matrix(claims, estimates)
    lines = [
        f"| claim | verdict | {' | '.join(map(str, found.columns[1:]))} |",
        "|---" * (len(found.columns) + 1) + "|",
    ]
    for name, row in found.iterrows():
        cells = " | ".join(words.SYMBOLS[verdict] for verdict in row.iloc[1:])
        lines.append(f"| [{name}](#{anchor(str(name), row.iloc[0])}) | **{row.iloc[0]}** | {cells} |")
    problems = ", ".join(f"**{letter}** {name}" for name, letter in words.letters(estimates).items())
    return ["\n".join(lines), f"{words.symbols()}. Verdict: over problems. Problems: {problems or 'none'}."]


def anchor(name: str, verdict: str) -> str:
    """The anchor of the heading of a claim, as Markdown makes it."""
    return f"{name}-{verdict.replace(' ', '-')}"


def _claims_of(whose: str, claims: pd.DataFrame, estimates: pd.DataFrame, profile: str) -> list[str]:
    rows = claims[claims["whose"] == whose].to_dict("records")
    heading = [f"## {words.OWNERS[whose]}"] if rows else []
    return heading + [_claim(row, estimates[estimates["id"] == row["id"]], profile) for row in rows]


def _claim(row: dict[Any, Any], estimates: pd.DataFrame, profile: str) -> str:
    """A claim in full."""
    known = row["verdict"] != "not measured"
    lines = [
        f"### {row['id']}: {row['verdict']}",
        f"**{row['claim']}** Source: {row['source']}.",
        *_notes(row),
    ]
    if known:
        lines.append(f"{words.sentence(row)} {words.rule(row)}")
        lines.append(_by_problem(estimates))
    lines.append(f"Test: {row['test']}")
    return "\n\n".join([*lines, _links(row, profile)] if known else lines)


def _notes(row: dict[Any, Any]) -> list[str]:
    """Why it has its verdict, and what else has to be known."""
    notes = {
        "": row["reason"],
        "declared out of reach before the runs: ": row.get("declared"),
        "post hoc: ": row["post_hoc"],
    }
    text = "; ".join(f"{name}{note}" for name, note in notes.items() if not pd.isna(note) and note)
    return [f"{words.capital(text)}."] if text else []


def _by_problem(estimates: pd.DataFrame) -> str:
    """The part that decides on each problem."""
    lines = ["| problem | verdict | measured | 95% interval | n | value |", "|---|---|---|---|---|---|"]
    each = (
        estimates[estimates["problem"] != OVER]
        .sort_values("slack")
        .drop_duplicates("problem")
        .sort_values("problem")
    )
    for one in each.to_dict("records"):
        low, mean, high = (words.number(one[name], one) for name in ("low", "mean", "high"))
        interval = "" if pd.isna(one["low"]) else f"{low} to {high}"
        why = f" ({one['reason']})" if str(one["reason"]) not in USUAL else ""
        what = ", ".join(filter(None, (words.part(one["part"]), str(one["measure_unit"]))))
        cells = (one["problem"], f"**{one['verdict']}**{why}", mean, interval, f"{one['n']:.0f}", what)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _links(row: dict[Any, Any], profile: str) -> str:
    """From a claim to its figure, tables, values and runs."""
    results = f"../../results/{profile}"
    study = f"{results}/{row['study']}"
    return (
        f"Figures: [{row['figure']}](../../figures/{profile}/{row['figure']}). Tables: [{row['study']}]({study}/), "
        f"[estimates]({results}/claims/problems.csv), [values of the trainings]({results}/claims/values.csv). "
        f"Runs: [keys]({study}/times.csv), [commits]({study}/provenance.csv); {row['scope']}."
    )


HEADLINES = (
    "surpasses-all",
    "loss-scheduled",
    "accuracy-scheduled",
    "lines-convex",
    "lines-parabolic",
    "fullbatch-pal",
)
"""The paper's main claims, which the README shows."""


def into_readme(profile: str, root: Path = REPOSITORY) -> None:
    """Update the verdicts between the markers for this profile in the README, if it has such markers."""
    readme = root / "README.md"
    before, mark, rest = readme.read_text().partition(f"<!-- verdicts of {profile} -->\n")
    if mark:
        claims, _ = tables.verdicts_of(profile, root)
        _, end, after = rest.partition("<!-- end of verdicts -->\n")
        write_whole(readme, f"{before}{mark}{for_readme(claims)}\n{end}{after}")


def for_readme(claims: pd.DataFrame) -> str:
    """How many of the paper's claims have which verdict, and one line for each main claim."""
    papers = claims[claims["whose"] == "paper"]
    lines = ["| claim | measured | verdict |", "|---|---|---|"]
    for row in papers[papers["id"].isin(HEADLINES)].to_dict("records"):
        found = row["verdict"] != "not measured"
        measured = _explained(row) if found else str(row["reason"])
        lines.append(f"| {row['claim']} | {measured} | **{row['verdict']}** |")
    return f"{words.summary(papers)}\n\n" + "\n".join(lines)


def _explained(row: dict[Any, Any]) -> str:
    """What was measured and, where this alone does not tell, why it has its verdict."""
    reason = str(row["reason"])
    return words.sentence(row) + ("" if reason in USUAL else f" {words.capital(reason)}.")
