"""A claim about trainings with and without interpolation."""

import numpy as np

from experiments.claims.verdict import Claim, Evidence, Measured, paired

FLOOR = 1e-12
"""Training losses below count as this: they are rounding."""


def _advantage(evidence: Evidence) -> Measured | None:
    """PAL's advantage over the median rival, each at its best setting, paired by problem and seed."""
    runs = evidence.table("interpolation", "runs")
    chosen = runs.merge(evidence.table("interpolation", "best")[["problem", "entry", "setting"]])
    values = chosen.assign(value=np.log10(chosen["final_train_loss"].clip(lower=FLOOR)))
    table = values.pivot_table("value", ["problem", "seed"], "entry")
    rivals = [name for name in table.columns if name != "pal"]
    if "pal" not in table or not rivals:
        return None
    difference = table[rivals].median(axis=1) - table["pal"]
    worst = difference.groupby("problem").mean()
    words = f"median of {', '.join(map(str, rivals))}; least on {worst.idxmin()}: {worst.min():.2f}"
    return paired(difference, words)


CLAIMS = [
    Claim(
        "interpolation",
        "PAL does well whether or not the network can fit all data exactly.",
        "section 7 [recollection]; our measure",
        "On SLS's problems: log10 final training loss of the median rival minus PAL's, each at its best setting, "
        "paired by problem and seed. Supported above 0, contradicted below.",
        0.0,
        _advantage,
        "interpolation",
        "interpolation/",
    ),
]
