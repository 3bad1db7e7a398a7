"""All figures: which tables each is drawn from. Notebooks, and the command `figure`, draw them by name."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from experiments import figures
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.figures.registry import FIGURES, Drawing
from experiments.reports import words
from experiments.results import tables
from experiments.results.claims.horizon import HORIZONS

CLAIMS = "claims"
"""The notebook of the verdicts, which are no table of a study."""


def problems(first: pd.DataFrame, *_: pd.DataFrame) -> list[str]:
    """The problems of the first table."""
    return sorted(first["problem"].unique())


def _equal_time(
    runs: pd.DataFrame, curves: pd.DataFrame, best: pd.DataFrame, times: pd.DataFrame, problem: str
) -> Figure:
    """See `figures.equal_time`."""
    return figures.equal_time(figures.at_equal_time(runs, curves, best, times, problem), problem)


def _horizon(curves: pd.DataFrame) -> Figure:
    """See `figures.horizon`."""
    return figures.horizon(curves, HORIZONS)


def _verdicts(claims: pd.DataFrame, estimates: pd.DataFrame) -> Figure:
    """See `figures.verdicts`."""
    letters = {letter: problem for problem, letter in words.letters(estimates).items()}
    return figures.verdicts(words.matrix(claims, estimates), letters)


def _forest(_: pd.DataFrame, estimates: pd.DataFrame) -> Figure:
    """See `figures.forest`."""
    return figures.forest(figures.against_rivals(estimates))


def _of_benchmark(study: str) -> dict[str, Drawing]:
    timed = ("runs", "curves", "best", "times")
    return {
        "comparison": Drawing(figures.comparison, study, ("runs", "curves", "best"), problems),
        "wall-clock": Drawing(figures.wall_clock, study, ("curves", "best", "times"), problems),
        "equal-time": Drawing(_equal_time, study, timed, problems),
    }


FIGURES_OF: dict[str, dict[str, Drawing]] = {
    "ablation": {
        "measuring-step": Drawing(figures.measuring_step, "ablation"),
        "variants": Drawing(figures.variant_effects, "ablation", ("differences", "effects")),
    },
    "adaptation": {"step-adaptation": Drawing(figures.step_adaptation, "adaptation")},
    "batchsize": {"batch-sizes": Drawing(figures.batch_sizes, "batchsize", ("summary",))},
    "benchmark": _of_benchmark("benchmark")
    | {
        "sensitivity": Drawing(figures.sensitivity, "benchmark", ("runs",), figures.swept),
        "schedules": Drawing(figures.schedules, "benchmark", ("curves",), problems),
    },
    "capacity": {
        "capacity-rates": Drawing(figures.capacity_rates, "capacity", ("curves", "runs")),
        "capacity-loss": Drawing(figures.capacity_loss, "capacity"),
    },
    CLAIMS: {
        "verdicts": Drawing(_verdicts, CLAIMS, ("claims", "problems")),
        "forest": Drawing(_forest, CLAIMS, ("claims", "problems")),
    },
    "exactness": {"exact-training": Drawing(figures.exact_training, "exactness", ("curves",))},
    "fullbatch": {
        "lines": Drawing(figures.fullbatch_lines, "fullbatch", ("strategies", "points"), problems),
        "strategies": Drawing(figures.fullbatch_strategies, "fullbatch", ("strategies",), problems),
    },
    "horizon": {"horizon": Drawing(_horizon, "horizon", ("curves",))},
    "interpolation": {"training": Drawing(figures.interpolation, "interpolation", ("curves",))},
    "lines": {
        "loss-lines": Drawing(figures.loss_lines, "lines", ("lines", "points"), problems),
        "wide-lines": Drawing(figures.wide_lines, "lines", ("lines", "points"), problems),
        "line-shape": Drawing(figures.line_shape, "lines", ("lines",)),
        "convexity": Drawing(figures.convexity, "lines", ("convexity",)),
        "fit-errors": Drawing(figures.fit_errors, "lines", ("lines",)),
    },
    "rivals": _of_benchmark("rivals"),
}
"""The figures of each notebook."""


def figures_of(study: str) -> dict[str, Drawing]:
    """The figures of a study by name, also those of extensions; raises UserError for a name that is taken."""
    ours = FIGURES_OF.get(study, {})
    own = {name: drawing for name, drawing in FIGURES.items() if drawing.study == study}
    taken = next((name for name in own if name in ours), None)
    if taken is not None:
        raise UserError(f"FIGURES: {taken!r} is a figure of {study} in the package; it needs another name")
    return ours | own


def tables_of(drawing: Drawing, profile: str, root: Path = REPOSITORY) -> list[pd.DataFrame]:
    """What a figure is drawn from; raises UserError if it has not been made."""
    if drawing.study == CLAIMS:
        return list(tables.verdicts_of(profile, root))
    return [tables.read(profile, drawing.study, name, root) for name in drawing.tables]


def all_studies() -> Iterable[str]:
    """The studies that have figures."""
    return sorted({*FIGURES_OF, *(drawing.study for drawing in FIGURES.values())})
