"""Claims about mu, the dtype, PAL's safeguards, and known bugs of the published code."""

import numpy as np
import pandas as pd

from experiments.results.claims.verdict import (
    Claim,
    Evidence,
    Measure,
    Measured,
    lowest_minus_highest,
    paired,
)

MARGIN = 0.02
"""A difference of validation accuracy that counts as none, as in the claim on alpha."""

RECOMMENDED = (0.1, 1.0)
"""The range of mu that the authors' documentation recommends."""

WITHIN = f"Supported if the whole interval of the mean is within {MARGIN:g}, contradicted if it is outside."


def _swept(evidence: Evidence) -> pd.DataFrame:
    """The runs of plain PAL."""
    runs = evidence.reached("ablation", "final_val_accuracy")
    return runs[runs["variant"] == "pal"]


def _robust(evidence: Evidence) -> Measured | None:
    runs = _swept(evidence)
    near = runs[runs["mu"].between(*RECOMMENDED) & (runs["dtype"] == "float32")]
    return paired(lowest_minus_highest(near, "mu"), f"mu from {RECOMMENDED[0]:g} to {RECOMMENDED[1]:g}")


def _lost_to_bfloat16(evidence: Evidence) -> Measured | None:
    shares = _both_dtypes(_swept(evidence), "parabola_share")
    if shares.empty:
        return None
    least = shares.index.get_level_values("mu").min()
    shares = shares[shares.index.get_level_values("mu") == least]
    each = ", ".join(f"{name} {shares[name].mean():.3g}" for name in shares)
    return paired(shares["float32"] - shares["bfloat16"], f"mu = {least:g}; fractions of steps: {each}")


def _bfloat16_accuracy(evidence: Evidence) -> Measured | None:
    runs = _swept(evidence)
    accuracies = _both_dtypes(runs[runs["mu"].between(*RECOMMENDED)], "value")
    if accuracies.empty:
        return None
    differences = accuracies["bfloat16"] - accuracies["float32"]
    return _closeness(differences.groupby(["problem", "seed"]).mean(), "bfloat16 minus float32")


def _both_dtypes(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Values in both dtypes, one row per problem, seed and mu that have both; empty if there are none."""
    table = runs.pivot_table(column, ["problem", "seed", "mu"], "dtype")
    return table.reindex(columns=["float32", "bfloat16"]).dropna()


def _unchanged(variant: str) -> Measure:
    """How far the mean validation accuracy of a variant is from that of its reference."""

    def measure(evidence: Evidence) -> Measured | None:
        return _closeness(_differences(evidence, variant, "val_accuracy"), "variant minus reference")

    return measure


def _closeness(differences: pd.Series, explanation: str) -> Measured | None:
    """Minus the absolute value of a mean difference, with the interval that follows from that of the mean."""
    mean = paired(differences, explanation)
    if mean is None:
        return None
    far, near = np.max(np.abs([mean.low, mean.high])), np.max([0.0, mean.low, -mean.high])  # or NaN
    words = f"{explanation}: {mean.value:+.3g} ({mean.low:+.3g} to {mean.high:+.3g})"
    return Measured(
        0.0 - abs(mean.value), float(0.0 - far), float(0.0 - near), mean.n, words
    )  # 0.0 - avoids minus zero


def _lost_to_new_masks(evidence: Evidence) -> Measured | None:
    return paired(-_differences(evidence, "pal-new-masks", "parabola_share"), "fraction of steps")


def _differences(evidence: Evidence, variant: str, quantity: str) -> pd.Series:
    table = evidence.table("ablation", "differences")
    return table.loc[(table["variant"] == variant) & (table["quantity"] == quantity), "difference"]


def _kept(evidence: Evidence) -> Measured | None:
    runs = evidence.table("ablation", "runs")
    refused = runs.loc[runs["variant"] == "pal-safeguard", "refused_share"]
    return paired(1 - refused, f"fraction of steps that are accepted; least {1 - refused.max():.3g}")


def _variant(name: str, claim: str, source: str, variant: str) -> Claim:
    """The claim that a variant reaches the same validation accuracy as its reference."""
    test = (
        "Minus the absolute mean difference of final validation accuracy, variant minus reference with the same "
        f"weights, paired by problem and seed; a training that diverged counts as 0. {WITHIN}"
    )
    return Claim(name, claim, source, test, -MARGIN, _unchanged(variant), "ablation")


CLAIMS = [
    Claim(
        "mu-robust",
        "Performance barely depends on mu between 0.1 and 1.",
        "README of the authors, who call the sensitivity medium [certain]; margin ours",
        "Lowest minus highest final validation accuracy over mu from 0.1 to 1 in float32, paired by problem and seed; "
        f"a training that diverged counts as 0. Supported if the interval is above {-MARGIN:g}, contradicted if below.",
        -MARGIN,
        _robust,
        "ablation",
    ),
    Claim(
        "bfloat16-cases",
        "With a small mu, bfloat16 has fewer steps in the normal case: the curvature is lost to rounding.",
        "our conjecture",
        "Fraction of steps in the normal case in float32 minus that in bfloat16 at the smallest mu, paired by problem "
        "and seed. Supported above 0, contradicted below.",
        0.0,
        _lost_to_bfloat16,
        "ablation",
    ),
    Claim(
        "bfloat16-accuracy",
        "With mu between 0.1 and 1, bfloat16 costs no accuracy.",
        "our conjecture",
        "Minus the absolute mean difference of final validation accuracy, bfloat16 minus float32, mean over mu from "
        f"0.1 to 1, paired by problem and seed; a training that diverged counts as 0. {WITHIN}",
        -MARGIN,
        _bfloat16_accuracy,
        "ablation",
    ),
    _variant(
        "statistics-twice",
        "Updating running statistics at the probe, too, as in the published code, barely changes the accuracy.",
        "published code [certain]; claim ours",
        "pal-counted-twice",
    ),
    _variant(
        "new-masks",
        "New dropout masks at the probe barely change the accuracy.",
        "published code: masks from a clock [certain]; claim ours",
        "pal-new-masks",
    ),
    Claim(
        "new-masks-cases",
        "New dropout masks at the probe lead to fewer steps in the normal case.",
        "our conjecture",
        "Fraction of steps in the normal case of plain PAL minus that with new masks, paired by problem and seed. "
        "Supported above 0, contradicted below.",
        0.0,
        _lost_to_new_masks,
        "ablation",
    ),
    _variant(
        "l2-beside",
        "An L2 term outside of the searched loss instead of in it barely changes the accuracy.",
        "the searched loss includes it [certain]; claim ours",
        "pal-l2-beside",
    ),
    _variant(
        "safeguard",
        "Undoing steps that raise the batch loss barely changes the accuracy.",
        "reviews ask for a decrease test [certain]; claim ours",
        "pal-safeguard",
    ),
    Claim(
        "safeguard-idle",
        "PAL's step rarely raises the batch loss.",
        "reviews ask for a decrease test [certain]; threshold ours",
        "Fraction of steps that a decrease test accepts, mean over trainings with the test. Supported if the interval "
        "is above 0.95, contradicted if below.",
        0.95,
        _kept,
        "ablation",
    ),
    _variant(
        "unshuffled",
        "The same data order in every epoch barely changes the accuracy.",
        "published code: CIFAR-10 is never shuffled [certain]; claim ours",
        "pal-unshuffled",
    ),
    _variant(
        "alig-numerator",
        "ALI-G with 1 in place of the loss barely changes the accuracy.",
        "published code: divides a counter that stays at 1 [certain]; claim ours",
        "alig-numerator",
    ),
]
