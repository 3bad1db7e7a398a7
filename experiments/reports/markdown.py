"""The report as Markdown: reports/<profile>/REPORT.md, and the table of verdicts in the README."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.markdown import Markdown

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, write_whole
from experiments.results import missing, tables


def write(profile: str, root: Path = REPOSITORY) -> Path:
    """Write every claim with its test, measured value, verdict, figure and runs, followed by all figures."""
    verdicts = pd.read_csv(tables.verdicts(profile, root))
    pictures = sorted((root / "figures" / profile).rglob("*.png"))
    parts = [
        f"# PAL: which claims of the paper hold, profile `{profile}`",
        f"{summary(verdicts)} All numbers come from [`results/{profile}/`](../../results/{profile}/). Tests and "
        "thresholds were declared before the runs. A verdict needs the whole 95 % interval on one side of the "
        "threshold.",
        *_incomplete(profile, root),
        short(verdicts),
        "## The claims",
        *(_claim(row, profile) for row in verdicts.to_dict("records")),
        "## Figures",
        "Each figure is also there as a PDF, with a JSON file that lists the tables, runs and commits behind it.",
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
    return ["**This report is incomplete.** The same command continues where it stopped.", "\n".join(lines)]


BEYOND = ("ablation", "batchsize", "capacity")
"""Studies of what the paper does not claim."""

HEADLINES = ("lines-convex", "lines-parabolic", "fullbatch-pal", "loss-scheduled", "accuracy-scheduled")
"""The paper's main claims, which the README shows."""


def into_readme(profile: str, root: Path = REPOSITORY) -> None:
    """Update the verdicts between the markers for this profile in the README, if it has such markers."""
    readme = root / "README.md"
    before, mark, rest = readme.read_text().partition(f"<!-- verdicts of {profile} -->\n")
    if mark:
        verdicts = pd.read_csv(tables.verdicts(profile, root))
        _, end, after = rest.partition("<!-- end of verdicts -->\n")
        write_whole(readme, f"{before}{mark}{for_readme(verdicts)}\n{end}{after}")


def for_readme(verdicts: pd.DataFrame) -> str:
    """How many of the paper's claims have which verdict, and one line for each main claim that was measured."""
    papers = verdicts[~verdicts["study"].isin(BEYOND)]
    shown = papers[papers["id"].isin(HEADLINES) & (papers["verdict"] != "not measured")]
    return f"{summary(papers)}\n\n{short(shown)}"


def for_terminal(profile: str) -> Markdown:
    """All verdicts, and where to read more; raises UserError if there are none."""
    path = tables.verdicts(profile)
    if not path.is_file():
        raise UserError(f"{path} is not there; `make reproduce PROFILE={profile}` makes it")
    places = f"report: reports/{profile}/index.html; figures: figures/{profile}/; tables: results/{profile}/"
    verdicts = pd.read_csv(path)
    return Markdown(f"Profile {profile}: {summary(verdicts)}\n\n{short(verdicts)}\n\n{places}")


def summary(verdicts: pd.DataFrame) -> str:
    """How many claims have which verdict."""
    counts = verdicts["verdict"].value_counts()
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{len(verdicts)} claims: {words}."


def short(verdicts: pd.DataFrame) -> str:
    """One line per claim."""
    lines = ["| claim | measured (95 % interval) | holds if | n | verdict |", "|---|---|---|---|---|"]
    for row in verdicts.to_dict("records"):
        known = row["verdict"] != "not measured"
        holds = f"above {row['threshold']:g}"
        lines.append(
            f"| {row['claim']} | {_measured(row) if known else ''} | {holds} | {row['n']} | **{row['verdict']}** |"
        )
    return "\n".join(lines)


def _measured(row: dict[Any, Any]) -> str:
    interval = "a single value" if pd.isna(row["low"]) else f"{row['low']:.3g} to {row['high']:.3g}"
    return f"{row['measured']:.3g} ({interval})"


def _claim(row: dict[Any, Any], profile: str) -> str:
    """A claim in full."""
    lines = [
        f"### {row['id']}: {row['verdict']}",
        f"**{row['claim']}** Source: {row['source']}.",
        row["test"],
    ]
    if row["verdict"] == "not measured":
        return "\n\n".join([*lines, "Not measured at this scale."])
    measured = (
        f"Measured: {_measured(row)}, n = {row['n']}, threshold {row['threshold']:g}: {row['explanation']}."
    )
    study = f"../../results/{profile}/{row['study']}"
    links = (
        f"Figures: [{row['figure']}](../../figures/{profile}/{row['figure']}). Tables: [{row['study']}]({study}/). "
        f"Runs: [keys]({study}/times.csv), [commits]({study}/provenance.csv); {row['scope']}."
    )
    return "\n\n".join([*lines, measured, links])
