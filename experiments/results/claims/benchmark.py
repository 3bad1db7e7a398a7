"""Claims about PAL and other optimizers.

Each method is judged on fresh seeds, at the setting that other seeds have selected for it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.results.claims.claim import MOST, PAIRS, Claim, Measure
from experiments.results.claims.evidence import ACCURACY, LOSS, Evidence, Missing, against, named, negated
from experiments.results.claims.statistics import Criterion, lower_loss

SCHEDULED = ("sgd-step", "adam-step", "rmsprop-step")
CONSTANT = ("sgd", "adam", "rmsprop")
STEP_SIZES = ("sls", "alig", "sgdhd", "cocob")
"""The methods of the paper that set their own step sizes."""

TESTED = "test_accuracy_reestimated"

LOWER = lower_loss("PAL's training loss is {value} [lower|higher] in log10 than that of {part}")
HIGHER = Criterion(
    "above",
    0.0,
    0.01,
    "PAL's test accuracy is {value} [higher|lower] than that of {part}",
    "accuracy",
    pilot=TESTED,
    trainings=2,
)
NOT_LOWER = replace(HIGHER, bound=-0.01)

LONGER = Criterion(
    "above",
    0.0,
    float(np.log2(1.1)),
    "a step of PAL takes {value} times as long as one of SGD",
    "log2 of a ratio",
    floor=0.02,
    scale="2",
    pilot="log2_seconds_per_step",
    trainings=2,
)
LESS_THAN_TWICE = replace(LONGER, rule="below", bound=1.0)


def _losses(rivals: Sequence[str]) -> Measure:
    """How much lower PAL's log10 training loss is than that of each rival."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        runs = evidence.scores(evidence.selected("benchmark", LOSS), "benchmark", "final_train_loss")
        return negated(against(runs, "pal", rivals))

    return measure


def _accuracies(rivals: Sequence[str]) -> Measure:
    """How much higher PAL's test accuracy is than that of each rival."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        return against(
            evidence.scores(evidence.selected("benchmark", ACCURACY), "benchmark", TESTED), "pal", rivals
        )

    return measure


def _both(rivals: Sequence[str]) -> Measure:
    """Loss and accuracy against each rival."""

    def measure(evidence: Evidence) -> pd.DataFrame:
        parts = {"loss": _losses(rivals), "accuracy": _accuracies(rivals)}
        return pd.concat([named(one(evidence), name) for name, one in parts.items()], ignore_index=True)

    return measure


def _sensitivity(evidence: Evidence) -> pd.DataFrame:
    """How much less PAL's accuracy loses on average over its settings than that of the median rival."""
    runs = evidence.scores(
        evidence.runs("benchmark", "selection"), "benchmark", "final_val_accuracy_reestimated"
    )
    groups = runs.groupby(["problem", "seed", "method"])["score"]
    lost = (groups.max() - groups.mean())[
        runs.groupby(["problem", "seed", "method"])["setting"].nunique() > 1
    ]
    table = lost.unstack("method")
    rivals = [name for name in (*CONSTANT, *SCHEDULED, *STEP_SIZES) if name in table]
    if not rivals or "pal" not in table:
        raise Missing("PAL and its rivals have no several settings")
    return (table[rivals].median(axis=1) - table["pal"]).rename("value").reset_index()


def _rate_shape(evidence: Evidence) -> pd.DataFrame:
    """log10 of PAL's highest mean rate of a twentieth over that of the first one and of the last one."""
    rates = evidence.table("benchmark", "rates")
    judged = evidence.selected("benchmark", LOSS)[["problem", "method", "setting", "seed"]].drop_duplicates()
    rates = rates[rates["method"] == "pal"].merge(judged)
    table = rates.pivot_table("mean_rate", ["problem", "seed"], "twentieth").map(math.log10)
    ends = {"first": table[table.columns.min()], "last": table[table.columns.max()]}
    peak = table.max(axis=1)
    return pd.concat(
        [(peak - end).rename("value").reset_index().assign(part=name) for name, end in ends.items()]
    )


def _cost(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.selected("benchmark", LOSS)
    runs = runs.assign(score=np.log2(runs["seconds_per_step"].astype(float)))
    pairs = against(runs, "pal", ["sgd"])
    return pd.concat(
        [pairs.assign(part=part) for part in ("more than one", "less than two")], ignore_index=True
    )


LOSS_TEST = (
    "log10 training loss (with L2 term) of the rival minus PAL's, one test per rival, paired by seed, at the settings "
    "of lowest training loss on other seeds; a training that diverged counts with the highest loss of any training "
    "of its problem."
)
ACCURACY_TEST = (
    "PAL's test accuracy (batch-norm statistics re-estimated) minus the rival's, one test per rival, paired by seed, "
    "at the settings of highest validation accuracy on other seeds; a training that diverged counts as 0."
)


def _claim(
    name: str,
    claim: str,
    source: str,
    test: str,
    criterion: Criterion | Mapping[str, Criterion],
    measure: Measure,
    parts: tuple[str, ...],
    post_hoc: str = "",
) -> Claim:
    """A claim of the paper about PAL and rivals, each of which is a part."""
    return Claim(
        name, claim, "paper", source, test, criterion, measure, "benchmark", parts, "trained", PAIRS, post_hoc
    )


def _surpasses(name: str, words: str, rivals: tuple[str, ...], post_hoc: str = "") -> Claim:
    """The claim that PAL surpasses other methods that set their own step sizes, in loss and in accuracy."""
    parts = tuple(f"{quantity}, {rival}" for quantity in ("loss", "accuracy") for rival in rivals)
    return _claim(
        f"surpasses-{name}",
        f"PAL surpasses {words}, in training loss and in test accuracy.",
        "abstract: surpasses other step size estimating methods [certain]",
        "Both of these. " + LOSS_TEST + " " + ACCURACY_TEST,
        {"loss": LOWER, "accuracy": HIGHER},
        _both(rivals),
        parts,
        post_hoc,
    )


CLAIMS = [
    _claim(
        "loss-scheduled",
        "PAL reaches a lower training loss than SGD, Adam and RMSProp with a schedule.",
        "main figure [read off]; review [certain]",
        LOSS_TEST,
        LOWER,
        _losses(SCHEDULED),
        SCHEDULED,
    ),
    _claim(
        "loss-constant",
        "PAL reaches a lower training loss than SGD, Adam and RMSProp without a schedule.",
        "README of the authors [certain]",
        LOSS_TEST,
        LOWER,
        _losses(CONSTANT),
        CONSTANT,
        MOST + "supported",
    ),
    _claim(
        "accuracy-scheduled",
        "PAL's test accuracy is competitive with that of SGD, Adam and RMSProp with a schedule.",
        "abstract [certain]; margin ours",
        ACCURACY_TEST + " PAL may be worse by 0.01.",
        NOT_LOWER,
        _accuracies(SCHEDULED),
        SCHEDULED,
    ),
    _claim(
        "accuracy-constant",
        "PAL's test accuracy is higher than that of SGD, Adam and RMSProp without a schedule.",
        "README of the authors [certain]",
        ACCURACY_TEST,
        HIGHER,
        _accuracies(CONSTANT),
        CONSTANT,
    ),
    _surpasses("sls", "SLS", ("sls",)),
    _surpasses("alig", "ALI-G", ("alig",)),
    _surpasses("sgdhd", "SGD-HD", ("sgdhd",), MOST + "supported"),
    _surpasses("cocob", "COCOB", ("cocob",), MOST + "undecided"),
    _surpasses("all", "SLS, ALI-G, SGD-HD and COCOB, all of them", STEP_SIZES),
    Claim(
        "rate-shape",
        "PAL's learning rate rises, peaks and falls.",
        "paper",
        "main figure [read off]",
        "log10 of the highest mean learning rate (step / ||d||) of a twentieth of the training over that of the first "
        "one, and over that of the last one: at least a factor of 2. Only where networks interpolate.",
        Criterion(
            "above",
            float(np.log10(2)),
            float(np.log10(1.5)),
            "PAL's highest learning rate is {value} times that of the {part} twentieth",
            "log10 of a ratio",
            floor=0.02,
            scale="10",
            pilot="log10_rate",
        ),
        _rate_shape,
        "benchmark",
        ("first", "last"),
        "interpolating",
        figure="benchmark/",
    ),
    Claim(
        "cost",
        "A step of PAL takes longer than a step of SGD, but less than twice as long.",
        "paper",
        "review: about twice [certain]; README of 2019: 1.5 times [certain]; bounds ours",
        "log2 of the time of a PAL step over that of an SGD step on the same machine, paired by seed.",
        {"more than one": LONGER, "less than two": LESS_THAN_TWICE},
        _cost,
        "benchmark",
        ("more than one", "less than two"),
        unit=PAIRS,
    ),
    Claim(
        "sensitivity",
        "PAL depends little on its hyper-parameters.",
        "paper",
        "README of the authors [certain]; our measure",
        "Best minus mean validation accuracy over the settings of a method with the same seed: that of the median "
        "rival minus PAL's; a training that diverged counts as 0.",
        Criterion(
            "above",
            0.0,
            0.02,
            "over its settings, PAL loses {value} [less|more] accuracy than the median rival",
            "accuracy",
            floor=0.005,
            pilot="final_val_accuracy_reestimated",
            trainings=2,
        ),
        _sensitivity,
        "benchmark",
        unit="seeds (each with all settings)",
        phase="selection",
    ),
]
"""The paper's main claims."""
