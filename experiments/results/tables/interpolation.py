"""Tables of trainings with and without interpolation."""

from collections.abc import Sequence

from experiments.results.tables.benchmark import CRITERIA, best
from experiments.results.tables.common import Run, Tables, in_rows
from experiments.results.tables.trainings import trainings


def interpolation(finished: Sequence[Run]) -> Tables:
    """runs: one row per run; best: the configuration of lowest training loss of each optimizer; curves: of these."""
    tables = trainings(finished)
    runs, curves = tables["runs"], tables["curves"]
    chosen = best(runs)
    chosen = chosen[chosen["criterion"] == next(iter(CRITERIA))].drop(columns="criterion")
    curves = curves.merge(chosen[["problem", "method", "setting"]], on=["problem", "method", "setting"])
    order = ["problem", "method", "setting", "seed", "step"]
    return {"runs": runs, "best": in_rows(chosen, ["problem", "method"]), "curves": in_rows(curves, order)}
