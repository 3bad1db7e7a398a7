"""Claims about exact line searches on the batch loss, and about direction adaptation."""

import pandas as pd

from experiments.results.claims.claim import EXCLUDED, PAIRS, Claim, Measure
from experiments.results.claims.evidence import Evidence, Missing, against, negated
from experiments.results.claims.statistics import Criterion, lower_loss

DIRECTIONS = {
    "along the gradient": ("pal", "exact"),
    "with direction adaptation": ("pal-adapted", "exact-adapted"),
}
"""PAL and the exact search along the same kind of direction."""


def _advantage(column: str) -> Measure:
    """PAL's advantage over the exact search, for each kind of direction."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        runs = evidence.scores(evidence.runs("exactness"), "exactness", column)
        methods = set(runs["method"])
        found = [
            against(runs, pal, [exact]).assign(part=direction)
            for direction, (pal, exact) in DIRECTIONS.items()
            if {pal, exact} <= methods
        ]
        if not found:
            raise Missing("no exact search was run")
        values = pd.concat(found, ignore_index=True)
        return negated(values) if column.endswith("_loss") else values

    return measure


def _adapted(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.scores(evidence.runs("exactness"), "exactness", "final_train_loss")
    return negated(against(runs, "pal-adapted", ["pal"])).assign(part="")


CLAIMS = [
    Claim(
        "exact-loss",
        "An exact line search on the batch loss trains worse than PAL: training loss.",
        "paper",
        "section 6; review [certain]",
        "log10 final training loss of the exact search minus PAL's, paired by seed, for both kinds of directions; a "
        "training that diverged counts with the highest loss of any training of its problem.",
        lower_loss(
            "{part}, PAL's training loss is {value} [lower|higher] in log10 than that of the exact search"
        ),
        _advantage("final_train_loss"),
        "exactness",
        tuple(DIRECTIONS),
        "trained",
        PAIRS,
    ),
    Claim(
        "exact-accuracy",
        "An exact line search on the batch loss trains worse than PAL: validation accuracy.",
        "paper",
        "section 6; review [certain]",
        "PAL's final validation accuracy (batch-norm statistics re-estimated) minus that of the exact search, paired "
        "by seed, for both kinds of directions; a training that diverged counts as 0.",
        Criterion(
            "above",
            0.0,
            0.02,
            "{part}, PAL's accuracy is {value} [higher|lower] than that of the exact search",
            "accuracy",
            pilot="final_val_accuracy_reestimated",
            trainings=2,
        ),
        _advantage("final_val_accuracy_reestimated"),
        "exactness",
        tuple(DIRECTIONS),
        "trained",
        PAIRS,
        EXCLUDED + "undecided",
    ),
    Claim(
        "beta",
        "Direction adaptation (beta = 0.4) reaches a lower training loss than the plain gradient.",
        "paper",
        "part of the full algorithm [certain]; that it helps: our reading",
        "log10 final training loss of PAL without direction adaptation minus that with it, paired by seed.",
        lower_loss("the training loss is {value} [lower|higher] in log10 with direction adaptation", 0.05),
        _adapted,
        "exactness",
        (),
        "trained",
        PAIRS,
    ),
]
