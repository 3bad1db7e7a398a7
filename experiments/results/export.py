"""All results of a profile at once: in Python, and as one file to take away."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.common.errors import UserError
from experiments.common.git import git
from experiments.common.paths import REPOSITORY, write_output
from experiments.results import missing
from experiments.results.columns import dictionary
from experiments.results.tables import files
from experiments.runs import listing, run_packs

ABOUT = """Results of profile {profile}, from the replication of "Parabolic Approximation Line Search for DNNs".

runs.csv        every run: hyper-parameters, results, times and provenance
*/*.csv         the tables of each study, such as benchmark/best.csv
claims.csv      the verdicts; claims/ has the estimates and values behind them
columns.csv     unit and meaning of every column of these files
profile.yaml    what was planned

Code: commit {commit}. The commit, data, software and hardware of each run are in runs.csv (provenance.*).
{incomplete}"""


@dataclass(frozen=True)
class Results:
    """The results of a profile.

    Attributes:
        profile: Its name.
        runs: A row per run, with all fields of its config, its results, times and provenance.
        tables: All tables by name, such as "benchmark/best", "claims" and "claims/values".
        columns: Unit and meaning of every column of all these.
    """

    profile: str
    runs: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    columns: pd.DataFrame


def load(profile: str, root: Path = REPOSITORY) -> Results:
    """The results of a profile, from results/<profile>/ and the runs; committed runs are unpacked first.

    Args:
        profile: Its name.
        root: Folder that contains results/.

    Raises:
        UserError: If no table has been made, a table is damaged, or the runs cannot be unpacked.
    """
    place = root / "results" / profile
    names = table_names(profile, root)
    if not any(name.endswith("/times") for name in names):
        raise UserError(f"{place} has no tables of runs; `make reproduce PROFILE={profile}` makes them")
    tables = {name: files.load(place / f"{name}.csv", profile) for name in names}
    runs = _runs(profile, tables)
    return Results(profile, runs, tables, dictionary({"runs": runs} | tables))


def table_names(profile: str, root: Path = REPOSITORY) -> list[str]:
    """All tables of a profile, such as "benchmark/best" and "claims"."""
    place = root / "results" / profile
    return sorted(str(path.relative_to(place).with_suffix("")) for path in place.rglob("*.csv"))


def _runs(profile: str, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per run of the tables `times`; of a run that is neither in runs/ nor in a pack, what these have."""
    run_packs.unpack_all(profile)
    times = pd.concat(
        [
            table.assign(study=name.rpartition("/")[0])
            for name, table in tables.items()
            if name.endswith("/times")
        ]
    ).drop_duplicates("key")
    rows = listing.rows(frozenset(times["key"]))
    there = pd.DataFrame([{name: listing.cell(row[name]) for name in row} for row in rows])
    if there.empty:
        there = pd.DataFrame(columns=["key", "status"])
    known = [name for name in there if name not in times or name == "key"]
    runs = times.merge(there[known], on="key", how="left")
    runs["status"] = runs["status"].fillna("absent")
    first = [name for name in listing.WHO if name in runs]
    order = ["study", "problem", "method", "setting", "seed"]
    return runs[[*first, *(name for name in runs if name not in first)]].sort_values(order, kind="stable")


def write(profile: str, path: Path, root: Path = REPOSITORY) -> Results:
    """Write the results of a profile into one zip file of CSV files; the same results give the same bytes."""
    results = load(profile, root)
    contents = {f"{name}.csv": files.text(table) for name, table in results.tables.items()}
    contents |= {"runs.csv": files.text(results.runs), "columns.csv": files.text(results.columns)}
    contents |= {"README.txt": _about(profile, root)}
    plan = REPOSITORY / "profiles" / f"{profile}.yaml"
    if plan.is_file():
        contents["profile.yaml"] = plan.read_text()
    write_output(path, _zipped(contents))
    return results


def _about(profile: str, root: Path) -> str:
    studies = sorted(one.parent.name for one in (root / "results" / profile).glob("*/times.csv"))
    lacking = {study: missing.words(profile, study, root) for study in studies}
    incomplete = "".join(f"Incomplete: {study}: {words}.\n" for study, words in lacking.items() if words)
    return ABOUT.format(profile=profile, commit=git("rev-parse", "HEAD") or "unknown", incomplete=incomplete)


def _zipped(contents: dict[str, str]) -> bytes:
    """A zip file of texts without the time at which it is written."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
