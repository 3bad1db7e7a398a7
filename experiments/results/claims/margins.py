"""The claim that a variant is not worse than its reference, within a margin: for the study `ablation`.

A comparison in a profile has such a claim for each of its variants if it names a margin; an extension may make others.
"""

import pandas as pd

from experiments.common.profiles import sections
from experiments.results.claims.claim import PAIRS, Claim, Measure
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.statistics import Criterion

QUANTITIES = {
    "val_accuracy": ("final_val_accuracy_reestimated", 1, "final validation accuracy"),
    "val_loss": ("final_val_loss", -1, "final validation loss"),
    "log10_train_loss": ("final_train_loss", -1, "log10 final training loss"),
}
"""What may be compared: the column of the table `runs`, 1 if high is good, and the quantity in words."""

PAIRED = ["problem", "steps", "seed"]

FLOOR = 0.1
"""The least standard deviation of a difference that is believed, as a fraction of the margin."""


def not_worse(variant: str, reference: str, margin: float, quantity: str = "val_accuracy") -> Claim:
    """The claim that a variant is not worse than its reference by more than `margin`.

    Measured is the advantage of the variant over pairs of trainings with the same problem, seed and weights.

    Args:
        variant: Its name in the study.
        reference: That of its reference.
        margin: The difference that counts as none, > 0, in the unit of the quantity.
        quantity: "val_accuracy", "val_loss" or "log10_train_loss".
    """
    _, sign, words = QUANTITIES[quantity]
    good = "variant minus reference" if sign > 0 else "reference minus variant"
    criterion = Criterion(
        "above",
        -margin,
        margin,
        f"{variant} is {{value}} [better|worse] in {words}",
        words,
        FLOOR * margin,
        trainings=2,
    )
    return Claim(
        f"not-worse-{variant}-{reference}-{quantity}".replace("_", "-"),
        f"{variant} is not worse than {reference} by more than {margin:g} in {words}.",
        "ours",
        "declared in the profile",
        f"{words.capitalize()}, {good}, paired by seed; a training that diverged has accuracy 0, and a problem with "
        "one that has no loss says nothing.",
        criterion,
        _advantage(variant, reference, quantity),
        "ablation",
        unit=PAIRS,
        figure="ablation/variants.png",
    )


def _advantage(variant: str, reference: str, quantity: str) -> Measure:
    def measure(evidence: Evidence) -> pd.DataFrame:
        runs = _scored(evidence, quantity)
        ours = runs[(runs["variant"] == variant) & (runs["reference"] == reference)]
        theirs = runs[(runs["variant"] == reference) & (runs["dtype"] == "float32")]
        theirs = theirs.assign(reference_setting=theirs["setting"])
        pairs = ours.merge(theirs, on=[*PAIRED, "reference_setting"], suffixes=("", "_of_reference"))
        if pairs.empty:
            raise Missing(f"no runs of {variant} and {reference} with the same seeds")
        value = pairs["score"] - pairs["score_of_reference"]
        without = value.isna().groupby(pairs["problem"]).transform("any")
        return pairs.assign(
            value=value, obstacle=without.map({True: "a training has no loss", False: ""})
        ).rename(columns={"key_of_reference": "reference_key"})

    return measure


def _scored(evidence: Evidence, quantity: str) -> pd.DataFrame:
    """The runs of the study with `score`, of which more is better."""
    runs, (column, sign, _) = evidence.runs("ablation"), QUANTITIES[quantity]
    if quantity == "val_loss":  # in its own unit, which may be negative
        return runs.assign(score=-runs[column].astype(float))
    scored = evidence.scores(runs, "ablation", column)
    return scored.assign(score=sign * scored["score"])


def declared(profile: str) -> list[Claim]:
    """The claims that the comparisons of a profile declare; the profile must be valid (see `planning.load_profile`)."""
    section = sections(profile).get("ablation", [])
    parts = [part for one in (section if isinstance(section, list) else [section]) for part in one["parts"]]
    claims = [
        not_worse(variant, comparison["reference"]["name"], margin, quantity)
        for part in parts
        for comparison in part.get("comparisons", [])
        for variant in comparison["variants"]
        for quantity, margin in comparison.get("margins", {}).items()
    ]
    return list({claim.id: claim for claim in claims}.values())
