"""Two sets of results: claims, best settings and rankings, and which changes are beyond seed noise."""

import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markdown import Markdown

from experiments.common.errors import UserError
from experiments.common.git import archive
from experiments.common.paths import REPOSITORY
from experiments.results.tables.benchmark import CRITERIA, RESULTS, of_phase
from experiments.results.tables.files import load
from experiments.results.tables.intervals import mean_interval

LOGARITHMIC = "final_train_loss"
"""A result that is compared as log10."""


def main(before: str, after: str, profile: str) -> Markdown:
    """The comparison as a page.

    Args:
        before: A profile, a folder of results, or a git revision.
        after: The same.
        profile: Of git revisions that name none.

    Raises:
        UserError: If one of them has no results.
    """
    with results(before, profile) as old, results(after, profile) as new:
        parts = [
            f"# {before} and {after}",
            *_section("Claims", claims(old, new)),
            *(
                part
                for study in _common(old, new)
                for part in _section(f"Best settings: {study}", best(old, new, study))
            ),
            *_section("Rankings: benchmark", rankings(old, new)),
        ]
    return Markdown("\n\n".join([*parts, NOTE]))


NOTE = (
    "*Beyond seed noise*: the 95 % interval of the difference excludes zero. For claims it is that of two independent "
    "measurements; for best settings, Student's over the seeds that both have, of log10 for training losses."
)


@contextmanager
def results(name: str, profile: str) -> Iterator[Path]:
    """The folder of results that a name stands for; raises UserError if there is none."""
    folders = (REPOSITORY / "results" / name, Path(name))
    found = next((folder for folder in folders if name and (folder / "claims.csv").is_file()), None)
    if found is not None:
        yield found
        return
    revision, _, named = name.partition(":")
    inside = f"results/{named or profile}"
    packed = archive(revision, inside)
    if packed is None:
        raise UserError(
            f"{name!r} is neither a profile with results, nor a folder with claims.csv, nor a git revision with "
            f"{inside}/; `make reproduce PROFILE=NAME` produces results"
        )
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(place, filter="data")
        yield Path(place) / inside


def claims(old: Path, new: Path) -> pd.DataFrame:
    """Each claim measured in both: value and verdict before and after, and whether the change is within noise.

    The value is that of the part that decides. Where this is another part than before, values are not compared.
    """
    tables = [_claims(folder) for folder in (old, new)]
    rows = []
    for name in tables[1].index.intersection(tables[0].index):
        then, now = (table.loc[name] for table in tables)
        if pd.isna(then["mean"]) or pd.isna(now["mean"]):
            continue
        change = now["mean"] - then["mean"]
        same = then["part"] == now["part"]
        rows.append(
            {
                "claim": name,
                "before": _value(then),
                "after": _value(now),
                "change": f"{change:+.3g}" if same else "",
                "beyond seed noise": _word(change, np.hypot(_reach(then), _reach(now)))
                if same
                else "another part",
            }
        )
    return pd.DataFrame(rows)


def _claims(folder: Path) -> pd.DataFrame:
    """The verdicts by claim."""
    return load(folder / "claims.csv").fillna({"part": ""}).set_index("id")


def _value(row: pd.Series) -> str:
    return f"{row['mean']:.3g} {row['verdict']}" + (f" ({row['part']})" if row["part"] else "")


def _reach(row: pd.Series) -> float:
    """Half the width of an interval."""
    return float(row["high"] - row["low"]) / 2


def _word(change: float, reach: float) -> str:
    if change == 0:
        return "no"
    return "one value" if np.isnan(reach) else "yes" if abs(change) > reach else "no"


def _common(old: Path, new: Path) -> list[str]:
    """Studies with selected settings in both."""
    there = [{path.parent.name for path in folder.glob("*/best.csv")} for folder in (old, new)]
    return sorted(there[0] & there[1])


def best(old: Path, new: Path, study: str) -> pd.DataFrame:
    """The selected setting of each method by each criterion, before and after, with the result that it is judged by."""
    chosen = [_chosen(folder / study) for folder in (old, new)]
    runs = [load(folder / study / "runs.csv") for folder in (old, new)]
    rows = []
    for place in (place for place in chosen[1] if place in chosen[0]):
        then, now = (table[place] for table in chosen)
        result = RESULTS[place[2]]
        values = [
            _values(table, place, setting, result) for table, setting in zip(runs, (then, now), strict=True)
        ]
        problem, method, criterion = place
        rows.append(
            {"problem": problem, "method": method, "selected by": criterion}
            | {"setting before": then, "setting after": "the same" if now == then else now}
            | _change(values[0], values[1], result)
        )
    return pd.DataFrame(rows)


def _chosen(folder: Path) -> dict[tuple[str, str, str], str]:
    """The selected settings by problem, method and criterion."""
    table = load(folder / "best.csv")
    if "criterion" not in table:
        table["criterion"] = next(iter(CRITERIA))
    places = zip(table["problem"], table["method"], table["criterion"], strict=True)
    return dict(zip(places, table["setting"], strict=True))


def _values(runs: pd.DataFrame, place: Any, setting: str, result: str) -> "pd.Series[float]":
    """A result of one setting by seed, of those seeds that judge it; tables of earlier versions have no phases."""
    problem, method, _ = place
    wanted = runs[(runs["problem"] == problem) & (runs["method"] == method) & (runs["setting"] == setting)]
    judged = of_phase(wanted, "evaluation") if "phase" in wanted else wanted
    return judged.set_index("seed")[result].astype(float)


def _change(then: "pd.Series[float]", now: "pd.Series[float]", result: str) -> dict[str, str]:
    """Means before and after, and whether the differences of common seeds have a mean beyond noise."""
    scale = np.log10 if result == LOGARITHMIC else np.asarray
    both = then.index.intersection(now.index)
    differences = np.asarray(scale(now[both])) - np.asarray(scale(then[both]))
    low, high = mean_interval(differences[np.isfinite(differences)])
    change = float(np.mean(differences)) if len(differences) else np.nan
    return {
        result: f"{then.mean():.4g} -> {now.mean():.4g}",
        "beyond seed noise": "no" if (differences == 0).all() else _word(change, (high - low) / 2),
    }


def rankings(old: Path, new: Path) -> pd.DataFrame:
    """The methods whose rank changed, per problem and criterion."""
    files = [folder / "benchmark" / "ranking.csv" for folder in (old, new)]
    if not all(file.is_file() for file in files):
        return pd.DataFrame()
    places = ["problem", "criterion", "method"]
    tables = [load(file)[[*places, "rank"]] for file in files]
    both = tables[0].merge(tables[1], on=places, suffixes=(" before", " after"))
    return both[both["rank before"] != both["rank after"]].astype(str)


def _section(title: str, table: pd.DataFrame) -> Sequence[str]:
    if table.empty:
        return (f"## {title}", "Nothing to compare, or nothing changed.")
    rows = [table.columns, ["---"] * len(table.columns), *table.fillna("").astype(str).to_numpy()]
    return f"## {title}", "\n".join(f"| {' | '.join(row)} |" for row in rows)
