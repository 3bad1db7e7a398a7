"""Finished runs -> results/<profile>/<study>/*.csv."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.common.registry import Registry, load
from experiments.results.tables import fingerprints
from experiments.results.tables.common import Run, Tables, provenance, times
from experiments.results.tables.files import folder, replace

TABLES: Registry[Any] = Registry(
    "table",
    {
        "ablation": "experiments.results.tables.ablation:ablation",
        "adaptation": "experiments.results.tables.adaptation:adaptation",
        "batchsize": "experiments.results.tables.batchsize:batchsize",
        "benchmark": "experiments.results.tables.benchmark:benchmark",
        "capacity": "experiments.results.tables.capacity:capacity",
        "exactness": "experiments.results.tables.exactness:exactness",
        "fullbatch": "experiments.results.tables.fullbatch:fullbatch",
        "interpolation": "experiments.results.tables.interpolation:interpolation",
        "lines": "experiments.results.tables.lines:lines",
        "rivals": "experiments.results.tables.benchmark:benchmark",
    },
    "TABLES",
)
"""The function that makes the tables of each study; studies not listed here get the tables of any training."""

TRAININGS = "experiments.results.tables.trainings:trainings"


def module_of(study: str) -> str:
    """The module that makes the tables of a study; for a function of an extension, that of all trainings."""
    target = TABLES.get(study, TRAININGS)
    return target.partition(":")[0] if isinstance(target, str) else TRAININGS.partition(":")[0]


def make(study: str, finished: Sequence[Run]) -> Tables:
    """All tables of a study by name; raises UserError if they cannot be made, such as those of one's own study."""
    tables: Callable[[Sequence[Run]], Tables] = load(TABLES.get(study, TRAININGS))
    try:
        return tables(finished) | {
            "times": times(finished),
            "provenance": provenance(finished),
            "traces": fingerprints.table(finished, module_of(study)),
        }
    except UserError:
        raise
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the tables of the study {study!r} cannot be made of its runs: {words}") from error


def write(study: str, profile: str, finished: Sequence[Run], root: Path = REPOSITORY) -> list[Path]:
    """Make and write all tables of a study; each file is replaced whole."""
    place = folder(profile, study, root)
    return [replace(table, place / f"{name}.csv") for name, table in sorted(make(study, finished).items())]
