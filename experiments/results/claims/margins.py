"""The claim that a variant is not worse than its reference, within a margin: for the study `ablation`.

A comparison in a profile has such a claim for each of its variants if it names a margin; an extension may make others.
"""

import math

from experiments.common.profiles import sections
from experiments.results.claims.verdict import Claim, Evidence, Measure, Measured, paired

HIGH_IS_GOOD = {"val_accuracy": True, "val_loss": False, "log10_train_loss": False}
"""The quantities of the table `differences` that have a good direction."""

WORDS = {
    "val_accuracy": "final validation accuracy",
    "val_loss": "final validation loss",
    "log10_train_loss": "log10 final training loss",
}


def not_worse(variant: str, reference: str, margin: float, quantity: str = "val_accuracy") -> Claim:
    """The claim that a variant is not worse than its reference by more than `margin`.

    Measured is the mean advantage of the variant over pairs of trainings with the same problem, seed and weights, with
    Student's 95 % interval. The claim is supported if the whole interval is above -margin, contradicted if below.

    Args:
        variant: Its name in the study.
        reference: That of its reference.
        margin: The difference that counts as none, > 0, in the unit of the quantity.
        quantity: "val_accuracy", "val_loss" or "log10_train_loss".
    """
    good = "variant minus reference" if HIGH_IS_GOOD[quantity] else "reference minus variant"
    return Claim(
        f"not-worse-{variant}-{reference}-{quantity}".replace("_", "-"),
        f"{variant} is not worse than {reference} by more than {margin:g} in {WORDS[quantity]}.",
        "ours",
        f"{WORDS[quantity].capitalize()}, {good}, paired by problem and seed; a training that diverged has accuracy 0, "
        f"and without its loss nothing is supported. Supported if the whole interval of the mean is above {-margin:g}, "
        "contradicted if below.",
        -margin,
        _advantage(variant, reference, quantity),
        "ablation",
        "ablation/variants.png",
    )


def _advantage(variant: str, reference: str, quantity: str) -> Measure:
    def measure(evidence: Evidence) -> Measured | None:
        table = evidence.table("ablation", "differences")
        table = table[(table["variant"] == variant) & (table["reference"] == reference)]
        differences = table.loc[table["quantity"] == quantity, "difference"]
        mean = paired(differences if HIGH_IS_GOOD[quantity] else -differences, f"advantage over {reference}")
        lost = int(differences.isna().sum())
        if mean is None or not lost:
            return mean
        words = f"{mean.explanation}; of {len(differences)} pairs, {lost} have a training without a loss"
        return mean._replace(low=-math.inf, explanation=words)

    return measure


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
