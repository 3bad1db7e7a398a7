"""A claim about trainings with and without interpolation."""

from experiments.results.claims.verdict import Claim, Evidence, Measured, paired


def _advantage(evidence: Evidence) -> Measured | None:
    """PAL's advantage over the median rival, each at its best setting, paired by problem and seed."""
    runs = evidence.reached("interpolation", "final_train_loss")
    chosen = runs.merge(evidence.table("interpolation", "best")[["problem", "method", "setting"]])
    table = chosen.pivot_table("value", ["problem", "seed"], "method")
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
        "PAL does well whether or not the network can interpolate.",
        "section 7 [recollection]; our measure",
        "On SLS's problems: log10 final training loss of the median rival minus PAL's, each at its best setting, "
        "paired by problem and seed; a training that diverged counts with the highest loss that any showed on its "
        "problem. Supported above 0, contradicted below.",
        0.0,
        _advantage,
        "interpolation",
    )
]
