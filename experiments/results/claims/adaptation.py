"""Claims about the step times alpha."""

from experiments.results.claims.verdict import Claim, Evidence, Measured, lowest_minus_highest, paired

NEAR = (0.8, 1.7)
"""The range of alpha that the authors' documentation recommends."""


def _short(evidence: Evidence) -> Measured | None:
    runs = evidence.table("adaptation", "runs")
    return paired(90 - runs.loc[runs["alpha"] == 1, "median_angle"], "mean over trainings with alpha = 1")


def _closer(evidence: Evidence) -> Measured | None:
    errors = evidence.table("adaptation", "runs").pivot_table(
        "median_step_error", ["problem", "seed"], "alpha"
    )
    above = [alpha for alpha in map(float, errors.columns) if alpha > 1]
    if 1.0 not in errors or not above:
        return None
    nearest = min(above)
    return paired(errors[1.0] - errors[nearest], f"alpha = 1 against alpha = {nearest:g}")


def _robust(evidence: Evidence) -> Measured | None:
    runs = evidence.reached("adaptation", "final_val_accuracy")
    near = runs[runs["alpha"].between(*NEAR)]
    return paired(lowest_minus_highest(near, "alpha"), f"alpha from {NEAR[0]} to {NEAR[1]}")


CLAIMS = [
    Claim(
        "narrow-parabolas",
        "PAL's parabolas are slightly too narrow: with alpha = 1 the step falls short of the minimum of the line.",
        "paper [recollection]",
        "90 degrees minus the median angle between the gradients before and after the step, on the same batch. "
        "Supported above 0, contradicted below.",
        0.0,
        _short,
        "adaptation",
    ),
    Claim(
        "alpha-exact",
        "An alpha above 1 brings the step closer to the minimum of the line.",
        "paper [recollection]",
        "Median relative distance |s - s*| / s* with alpha = 1 minus that with the next larger alpha, paired by "
        "problem and seed. Supported above 0, contradicted below.",
        0.0,
        _closer,
        "adaptation",
    ),
    Claim(
        "alpha-robust",
        "Performance barely depends on alpha.",
        "README of the authors [certain]; margin ours",
        "Lowest minus highest final validation accuracy over alpha from 0.8 to 1.7, paired by problem and seed; "
        "a training that diverged counts as 0. Supported if the interval is above -0.02, contradicted if below.",
        -0.02,
        _robust,
        "adaptation",
    ),
]
