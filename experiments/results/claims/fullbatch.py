"""Claims about batch loss and full-batch loss."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured, resampled_mean
from experiments.results.tables.fullbatch import PUBLISHED, resampled, totals_of

NAMES = list(PUBLISHED)
Statistic = Callable[[np.ndarray], np.ndarray]


def _of_totals(statistic: Statistic, explanation: str) -> Measure:
    """A statistic of the cumulative improvements of the strategies without momentum, averaged over problems."""

    def measure(evidence: Evidence) -> Measured | None:
        lines = evidence.table("fullbatch", "strategies")
        lines = lines[lines["momentum"] == 0]
        if lines.empty:
            return None
        groups = dict(iter(lines.groupby("problem")))
        values: dict[Any, Any] = {name: statistic(totals_of(group)) for name, group in groups.items()}
        random = np.random.default_rng(0)  # one for all, so that problems are resampled independently
        draws = [statistic(resampled(group, random)) for group in groups.values()]
        return resampled_mean(values, draws, len(lines) // len(NAMES), explanation, ".2f")

    return measure


def pal_over_exact(totals: np.ndarray) -> np.ndarray:
    """PAL's improvement minus that of exact batch minima, as a fraction of the optimum's; last axis: strategies."""
    pal, exact, optimum = (totals[..., NAMES.index(name)] for name in ("pal", "exact", "optimum"))
    return (pal - exact) / optimum


def agreement(totals: np.ndarray) -> np.ndarray:
    """Kendall's tau between measured and published order, without the optimum, which is first by definition."""
    others = [place for place, name in enumerate(NAMES) if name != "optimum"]
    pairs = [(first, second) for first in others for second in others if first < second]
    return np.mean([np.sign(totals[..., first] - totals[..., second]) for first, second in pairs], axis=0)


CLAIMS = [
    Claim(
        "fullbatch-pal",
        "PAL's steps decrease the full-batch loss more than exact minima of the batch loss do.",
        "section 6 [recollection]; arXiv:2103.17132 [read off: 170 against 109]",
        "Along the lines of SGD without momentum: cumulative decrease of the full-batch loss by PAL's steps (mu 0.1) "
        "minus that by exact batch minima, as a fraction of the largest possible one, mean over problems. Supported if "
        "the 95 % interval (blocks of lines resampled) is above 0, contradicted if below.",
        0.0,
        _of_totals(pal_over_exact, "fraction of the largest possible decrease"),
        "fullbatch",
    ),
    Claim(
        "fullbatch-order",
        "Order by full-batch loss: PAL on the full batch, SGD at 0.05, PAL, exact batch minima, SGD at 0.1.",
        "arXiv:2103.17132 [read off: 197, 194, 170, 109, 36]",
        "Kendall's tau between this order and that of the cumulative decreases along the lines of SGD without "
        "momentum, mean over problems. Supported if the interval (blocks of lines resampled) is above 0.5 (at most 2 "
        "of 10 pairs the other way round), contradicted if below.",
        0.5,
        _of_totals(agreement, "Kendall's tau"),
        "fullbatch",
    ),
]
