"""Claims about mu, the dtype, PAL's safeguards, and known bugs of the published code."""

import pandas as pd

from experiments.results.claims.adaptation import pairwise
from experiments.results.claims.claim import PAIRS, Claim, Measure
from experiments.results.claims.evidence import Evidence, Missing, against, named
from experiments.results.claims.lines import fraction_error
from experiments.results.claims.statistics import Criterion, equivalent

MARGIN = 0.02
"""A difference of validation accuracy that counts as none."""

LOSS_MARGIN = 0.05
"""A difference of log10 training loss that counts as none (12 %)."""

RECOMMENDED = (0.1, 1.0)
"""The range of mu that the authors' documentation recommends."""

RARELY = 0.99
"""The least fraction of normal cases for which the others count as very rare."""

ACCURACY = "final_val_accuracy_reestimated"

PAIRED = ["problem", "reference", "steps", "mu"]
"""The columns in which a variant and its reference agree, besides the seed."""


def _plain(evidence: Evidence, *dtypes: str) -> pd.DataFrame:
    """The runs of plain PAL with a recommended mu."""
    runs = evidence.runs("ablation")
    known = (runs["variant"] == "pal") & runs["dtype"].isin(dtypes) & runs["mu"].between(*RECOMMENDED)
    if not known.any():
        raise Missing(f"no run of plain PAL with mu from {RECOMMENDED[0]:g} to {RECOMMENDED[1]:g}")
    return runs[known]


def _robust(evidence: Evidence) -> pd.DataFrame:
    return pairwise(evidence.scores(_plain(evidence, "float32"), "ablation", ACCURACY), "mu")


def _normal(evidence: Evidence) -> pd.DataFrame:
    runs = _plain(evidence, "float32")
    return runs.assign(
        value=runs["normal_fraction"],
        part="mu " + runs["mu"].map("{:g}".format),
        floor=fraction_error(runs["normal_fraction"], runs["steps"]),
    )


def _lost_to_bfloat16(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.runs("ablation")
    runs = runs[runs["variant"] == "pal"]
    both = runs[runs.groupby(["problem", "mu"])["dtype"].transform("nunique") > 1]
    least = both[both["mu"] == both.groupby("problem")["mu"].transform("min")]
    return against(least.assign(score=least["normal_fraction"]), "float32", ["bfloat16"], "dtype").assign(
        part=""
    )


def _bfloat16_accuracy(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.scores(_plain(evidence, "float32", "bfloat16"), "ablation", ACCURACY)
    pairs = [
        against(one, "bfloat16", ["float32"], "dtype")
        for _, one in runs.groupby("mu")
        if one["dtype"].nunique() > 1
    ]
    if not pairs:
        raise Missing("no run in bfloat16 with a recommended mu")
    return pd.concat(pairs, ignore_index=True).assign(part="")


def changed(runs: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Scores of a variant minus those of its reference with the same mu, length and seed."""
    runs = runs[
        (runs["variant"] == variant) | ((runs["variant"] == runs["reference"]) & (runs["dtype"] == "float32"))
    ]
    wanted = runs.loc[runs["variant"] == variant, PAIRED].drop_duplicates()
    if wanted.empty:
        raise Missing(f"no runs of {variant}")
    reference = variant.partition("-")[0]
    return against(runs.merge(wanted, on=PAIRED), variant, [reference], "variant").assign(part="")


def _unchanged(variant: str) -> Measure:
    """Loss and accuracy of a variant minus those of its reference."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        runs = evidence.runs("ablation")
        columns = {"loss": "final_train_loss", "accuracy": ACCURACY}
        parts = [
            named(changed(evidence.scores(runs, "ablation", column), variant), name)
            for name, column in columns.items()
        ]
        return pd.concat(parts, ignore_index=True)

    return measure


def _lost_to_new_masks(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.runs("ablation")
    values = changed(runs.assign(score=runs["normal_fraction"]), "pal-new-masks")
    return values.assign(value=-values["value"])


def _kept(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.runs("ablation")
    runs = runs[runs["variant"] == "pal-safeguard"]
    kept = 1 - runs["refused_fraction"]
    return runs.assign(value=kept, floor=fraction_error(kept, runs["steps"]))


def _fewer_cases(where: str) -> Criterion:
    """A fraction of steps that are no normal cases any more."""
    return Criterion(
        "above",
        0.0,
        0.05,
        where + ", {value} [fewer|more] of the steps are normal cases",
        "fraction of steps",
        floor=0.01,
        pilot="normal_fraction",
        trainings=2,
    )


def _variant(name: str, claim: str, source: str, variant: str) -> Claim:
    """The claim that a variant changes neither training loss nor validation accuracy."""
    return Claim(
        name,
        claim,
        "ours",
        source,
        "log10 final training loss (with L2 term) and final validation accuracy (batch-norm statistics re-estimated), "
        "variant minus reference with the same weights, paired by seed; a training that diverged counts with the "
        "highest loss of its problem and an accuracy of 0.",
        {
            "loss": equivalent(
                LOSS_MARGIN,
                "the variant changes log10 training loss by {value}",
                "log10 loss",
                0.005,
                "final_train_loss",
            ),
            "accuracy": equivalent(
                MARGIN, "the variant changes accuracy by {value}", "accuracy", pilot=ACCURACY
            ),
        },
        _unchanged(variant),
        "ablation",
        ("loss", "accuracy"),
        "trained",
        PAIRS,
    )


CLAIMS = [
    Claim(
        "normal-case",
        "Concave lines and ascent directions are very rare in training.",
        "paper",
        "section 4 [recollection]; threshold ours",
        "Fraction of PAL's steps with positive curvature and negative slope, for each mu from 0.1 to 1.",
        Criterion(
            "above",
            RARELY,
            0.005,
            "with {part}, {value} of the steps are normal cases",
            "fraction of steps",
            pilot="normal_fraction",
        ),
        _normal,
        "ablation",
        tests=3,
    ),
    Claim(
        "mu-robust",
        "Performance barely depends on mu between 0.1 and 1.",
        "paper",
        "README of the authors, who call the sensitivity medium [certain]; margin ours",
        "Differences of final validation accuracy (batch-norm statistics re-estimated) between any two mu from 0.1 to "
        "1, in float32, paired by seed; a training that diverged counts as 0.",
        equivalent(MARGIN, "the accuracy with mu {part} differs by {value}", "accuracy", pilot=ACCURACY),
        _robust,
        "ablation",
        (),
        "trained",
        PAIRS,
        tests=3,
    ),
    Claim(
        "bfloat16-cases",
        "With a small mu, bfloat16 has fewer steps in the normal case: the curvature is lost to rounding.",
        "ours",
        "our conjecture",
        "Fraction of steps in the normal case in float32 minus that in bfloat16 at the smallest mu, paired by seed.",
        _fewer_cases("in bfloat16"),
        _lost_to_bfloat16,
        "ablation",
        unit=PAIRS,
    ),
    Claim(
        "bfloat16-accuracy",
        "With mu between 0.1 and 1, bfloat16 costs no accuracy.",
        "ours",
        "our conjecture",
        "Final validation accuracy (batch-norm statistics re-estimated), bfloat16 minus float32, mean over mu from "
        "0.1 to 1, paired by seed; a training that diverged counts as 0.",
        equivalent(MARGIN, "the accuracy in bfloat16 differs by {value}", "accuracy", pilot=ACCURACY),
        _bfloat16_accuracy,
        "ablation",
        (),
        "trained",
        PAIRS,
    ),
    _variant(
        "statistics-twice",
        "Updating running statistics at the probe, too, as in the published code, barely changes the training.",
        "published code [certain]; claim ours",
        "pal-counted-twice",
    ),
    _variant(
        "new-masks",
        "New dropout masks at the probe barely change the training.",
        "published code: masks from a clock [certain]; claim ours",
        "pal-new-masks",
    ),
    Claim(
        "new-masks-cases",
        "New dropout masks at the probe lead to fewer steps in the normal case.",
        "ours",
        "our conjecture",
        "Fraction of steps in the normal case of plain PAL minus that with new masks, paired by seed.",
        _fewer_cases("with new masks"),
        _lost_to_new_masks,
        "ablation",
        unit=PAIRS,
    ),
    _variant(
        "l2-beside",
        "An L2 term outside of the searched loss instead of in it barely changes the training.",
        "the searched loss includes it [certain]; claim ours",
        "pal-l2-beside",
    ),
    _variant(
        "safeguard",
        "Undoing steps that raise the batch loss barely changes the training.",
        "reviews ask for a decrease test [certain]; claim ours",
        "pal-safeguard",
    ),
    Claim(
        "safeguard-idle",
        "PAL's step rarely raises the batch loss.",
        "ours",
        "reviews ask for a decrease test [certain]; threshold ours",
        "Fraction of steps that a decrease test accepts.",
        Criterion(
            "above",
            0.95,
            0.02,
            "{value} of the steps lower the batch loss",
            "fraction of steps",
            pilot="normal_fraction",
        ),
        _kept,
        "ablation",
    ),
    _variant(
        "unshuffled",
        "The same data order in every epoch barely changes the training.",
        "published code: CIFAR-10 is never shuffled [certain]; claim ours",
        "pal-unshuffled",
    ),
    _variant(
        "alig-numerator",
        "ALI-G with 1 in place of the loss barely changes the training.",
        "published code: divides a counter that stays at 1 [certain]; claim ours",
        "alig-numerator",
    ),
]
