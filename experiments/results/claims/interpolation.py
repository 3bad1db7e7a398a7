"""A claim about trainings with and without interpolation."""

import pandas as pd

from experiments.results.claims.claim import PAIRS, Claim
from experiments.results.claims.evidence import LOSS, Evidence, Missing, against, cannot_interpolate, negated
from experiments.results.claims.statistics import lower_loss


def _advantage(evidence: Evidence) -> pd.DataFrame:
    """The loss of each rival minus PAL's, each at the setting that other seeds selected; parts by regime."""
    runs = evidence.scores(evidence.selected("interpolation", LOSS), "interpolation", "final_data_loss")
    rivals = sorted(set(runs["method"]) - {"pal"})
    if not rivals:
        raise Missing("no rival of PAL was run")
    values = negated(against(runs, "pal", rivals))
    regimes = values["problem"].map(lambda name: "without" if cannot_interpolate(str(name)) else "with")
    return values.assign(part=values["part"] + ", " + regimes + " interpolation")


CLAIMS = [
    Claim(
        "interpolation",
        "PAL does well whether or not the network can interpolate.",
        "paper",
        "section 7 [recollection]; our measure",
        "On SLS's problems: log10 final loss of each rival minus PAL's, paired by seed, each at the setting of lowest "
        "loss on other seeds. PAL may be worse than the best rival by 0.1, with and without interpolation; a "
        "training that diverged counts with the highest loss of its problem.",
        lower_loss(
            "PAL's loss is {value} [lower|higher] in log10 than that of {part}", 0.1, -0.1, "final_data_loss"
        ),
        _advantage,
        "interpolation",
        unit=PAIRS,
        tests=4,
    )
]
