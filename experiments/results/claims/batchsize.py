"""Claims about batch sizes: strategies on fresh batches of several sizes at the same weights of an SGD training."""

import math

import pandas as pd

from experiments.results.claims.claim import Claim, Measure
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.statistics import Criterion

KEYS = ["problem", "seed"]


def _means(evidence: Evidence, measure: str) -> pd.DataFrame:
    """Mean over the lines of each training, by size; a column per strategy."""
    lines = evidence.table("batchsize", "strategies")
    return lines.pivot_table(measure, [*KEYS, "size"], "strategy").reset_index("size")


def per_doubling(values: pd.Series, sizes: pd.Series) -> pd.Series:
    """Least-squares slope of values over log2 of the batch size, per problem and seed (the index)."""
    doublings = sizes.astype(float).map(math.log2)
    doublings = doublings - doublings.groupby(level=[0, 1]).transform("mean")
    return (values * doublings).groupby(level=[0, 1]).sum() / (doublings**2).groupby(level=[0, 1]).sum()


def _growth(evidence: Evidence) -> pd.DataFrame:
    """Growth of PAL's improvement per doubling, as a fraction of the optimum's with the largest batches."""
    table = _means(evidence, "improvement")
    largest = table[table["size"] == table.groupby(level=[0, 1])["size"].transform("max")]
    return (per_doubling(table["pal"], table["size"]) / largest["optimum"]).rename("value").reset_index()


def _overshoot(evidence: Evidence) -> pd.DataFrame:
    """Decrease per doubling of the distance by which the batch minimum overshoots the optimum."""
    table = _means(evidence, "distance")
    return per_doubling(table["exact"], table["size"]).rename("value").reset_index()


def smallest_useful(table: pd.DataFrame, strategy: str) -> pd.Series:
    """log2 of the smallest batch size with which a strategy lowers the full-batch loss; if none does, one more."""
    sizes = table["size"].astype(float).map(math.log2)
    useful = sizes.where(table[strategy] > 0).groupby(level=[0, 1]).min()
    return useful.fillna(sizes.groupby(level=[0, 1]).max() + 1)


def _fewer(evidence: Evidence) -> pd.DataFrame:
    table = _means(evidence, "improvement")
    return (smallest_useful(table, "sgd-0.1") - smallest_useful(table, "pal")).rename("value").reset_index()


SOURCE = "arXiv:2103.17132 by the same group, supplement, figures 9, 10 [read off]; batches below 128 simulated there"


def _claim(name: str, claim: str, source: str, test: str, criterion: Criterion, measure: Measure) -> Claim:
    """A claim by the study batchsize."""
    whose = "another paper" if source == SOURCE else "ours"
    return Claim(name, claim, whose, source, test, criterion, measure, "batchsize")


CLAIMS = [
    _claim(
        "batchsize-growth",
        "PAL's full-batch improvement per line grows with the batch size.",
        SOURCE,
        "Mean decrease of the full-batch loss by PAL's step (mu 0.1) on fresh batches, fitted over log2 of their "
        "size; growth per doubling, as a fraction of the largest possible decrease with the largest batches.",
        Criterion(
            "above",
            0.0,
            0.05,
            "with every doubling, PAL's decrease [grows|shrinks] by {value} of the largest possible one",
            "fraction of the largest possible decrease",
            floor=0.005,
            pilot="growth",
        ),
        _growth,
    ),
    _claim(
        "batchsize-sensitivity",
        "PAL makes progress with smaller batches than SGD at 0.1.",
        SOURCE,
        "log2 of the smallest batch size with which SGD at 0.1 lowers the full-batch loss on average, minus the same "
        "for PAL.",
        Criterion(
            "above",
            0.0,
            1.0,
            "PAL makes progress with batches {value} doublings [smaller|larger] than SGD's",
            "doublings",
            floor=0.5,
            pilot="doublings",
        ),
        _fewer,
    ),
    _claim(
        "batchsize-overshoot",
        "Exact minima of the batch loss overshoot the full-batch minimum less with larger batches.",
        "arXiv:2103.17132 [batch minimum overshoots]; growth with size: our conjecture",
        "Distance of the full-batch minimum minus that of the batch minimum, mean over lines, fitted over log2 of the "
        "batch size; change per doubling.",
        Criterion(
            "above",
            0.0,
            0.06,
            "with every doubling, batch minima overshoot by {value} [less|more]",
            "distance in weight space",
            floor=0.002,
            pilot="overshoot_slope",
        ),
        _overshoot,
    ),
]
