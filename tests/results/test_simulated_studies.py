"""Every claim, judged on simulated studies in which the truth is known.

Without effect (the mean is at the bound; for claims of "hardly changes", at the margin), at most 5 % of the studies may
have a verdict; but a claim that there is an effect is rightly contradicted, by at least 80 % of them. With the smallest
effect of interest (for "hardly changes": with none), at least 80 % have the right one, at the planned number of
trainings and the largest spread for which `detectable` promises it. Counts may be further off only by what binomial
chance does in one of 10,000 tests.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from simulated import CLAIMS, SIMULATIONS, Draw, Made

from experiments.results.claims.judge import DISAGREE, UNSEEN, judge, of_problems, overall, values_of
from experiments.results.claims.statistics import SIDE, detectable

RARE = 1e-4
VERDICTS = ("supported", "contradicted", "undecided", "out of reach", "not measured")
STUDIES = [200, pytest.param(1000, marks=pytest.mark.large)]


def parts_of(claim):
    if claim.parts:
        return claim.parts
    return {
        "interpolation": ("sgd", "sls"),
        "horizon": tuple(map(str, range(9))),
        "normal-case": ("", "", ""),
    }.get(claim.id, ("",))


def count_of_tests(claim):
    """How many tests are judged together: any two of three values of a hyper-parameter are three."""
    return 3 if claim.id in ("alpha-robust", "mu-robust") else len(parts_of(claim))


def largest_spread(claim, n):
    criterion = claim.criterion_of(parts_of(claim)[0])
    known = (1 / np.sqrt(n), n - 1.0, criterion.rule == "within", count_of_tests(claim))
    return criterion.smallest / float(detectable(*(pd.Series([value]) for value in known)).iloc[0])


def effects(claim, size):
    """The mean of each part: so many of the smallest effects of interest from its bound."""
    criteria = [claim.criterion_of(part) for part in parts_of(claim)]
    if claim.id == "cost":
        return (size * criteria[0].smallest, 0.0)
    signs = {"above": 1, "below": -1, "within": -1}
    return tuple(one.bound + signs[one.rule] * size * one.smallest for one in criteria)


def simulated(name, studies, means, seed):
    claim, simulation = CLAIMS[name], SIMULATIONS[name]
    spread = largest_spread(claim, simulation.n) if simulation.sd is None else simulation.sd
    draw = Draw(np.random.default_rng([seed, *map(ord, name)]), studies, simulation.n, means, spread, claim)
    return claim, Made(simulation.make(draw))


def verdicts(name, studies, means, seed=0):
    """The verdict on each study."""
    claim, known = simulated(name, studies, means, seed)
    table = of_problems(claim, values_of(claim, known))
    found = table.groupby("problem")["verdict"].first()
    assert len(found) == studies
    return found


SOUGHT = [name for name, claim in CLAIMS.items() if any(one.bound == 0 for one in claim.criteria.values())]
"""Claims that there is an effect."""


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in SOUGHT])
def test_at_the_bound_at_most_one_of_twenty_studies_has_a_verdict(name, studies):
    found = verdicts(name, studies, effects(CLAIMS[name], 0))
    false = found.isin(["supported", "contradicted"]).sum()
    assert false <= binom.ppf(1 - RARE, studies, 2 * SIDE)


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("name", SOUGHT)
def test_without_effect_a_claim_that_there_is_one_is_contradicted_in_four_of_five_studies(name, studies):
    found = verdicts(name, studies, effects(CLAIMS[name], 0))
    assert (found == "supported").sum() <= binom.ppf(1 - RARE, studies, SIDE)
    assert (found == "contradicted").sum() >= binom.ppf(RARE, studies, 0.8)


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("name", CLAIMS)
def test_the_smallest_effect_of_interest_is_found_in_four_of_five_studies(name, studies):
    found = verdicts(name, studies, effects(CLAIMS[name], 1), seed=1)
    assert (found == "supported").sum() >= binom.ppf(RARE, studies, 0.8)
    assert (found == "contradicted").sum() <= binom.ppf(1 - RARE, studies, SIDE)


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("name", ["loss-constant", "alpha-robust", "narrow-parabolas", "surpasses-sls"])
def test_verdicts_over_three_problems_keep_to_the_same_errors(name, studies):
    """With 10, 6 and 4 trainings, and spreads that differ by a factor of four."""
    claim = CLAIMS[name]
    smallest = claim.criterion_of(parts_of(claim)[0]).smallest
    found = {}
    for size in (0, 1):
        parts = []
        for place, (n, spread) in enumerate(((10, 0.25), (6, 0.5), (4, 1.0))):
            random = np.random.default_rng([size, place])
            draw = Draw(random, studies, n, effects(claim, size), spread * smallest, claim)
            problems = of_problems(claim, values_of(claim, Made(SIMULATIONS[name].make(draw))))
            parts.append(problems.assign(study=problems["problem"]))
        table = overall(claim, pd.concat(parts, ignore_index=True))
        assert (table["problems"] == 3).all()
        found[size] = table.groupby("study")["verdict"].first()
    false = ["supported"] if name in SOUGHT else ["supported", "contradicted"]
    assert found[0].isin(false).sum() <= binom.ppf(1 - RARE, studies, 2 * SIDE)
    assert (found[1] == "supported").sum() >= binom.ppf(RARE, studies, 0.8)


SPREAD = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("means", "spread", "verdict", "reason"),
    [
        ((1.5, -1.5), 0.2, "undecided", DISAGREE),
        ((0.4, -0.4), 0.2, "undecided", DISAGREE),
        ((0.4, 0.0), 2.0, "out of reach", UNSEEN),
        ((0.1, -0.1), 0.2, "contradicted", ""),
        ((1.5, 0.4), 0.2, "supported", ""),
        ((1.5, -4.5), 0.2, "contradicted", ""),
        ((9.0, -1.0, -1.0), 0.2, "contradicted", "contradicted on 2 of 3 problems"),
        ((9.0, 0.1, 0.1), 0.2, "contradicted", "contradicted on 2 of 3 problems"),
        ((9.0, -1.0), 0.2, "undecided", DISAGREE),
        ((9.0, 9.0, -1.0), 0.2, "supported", ""),
        ((9.0, 1.5, -0.5), 2.0, "supported", ""),
    ],
)
def test_a_mean_over_problems_hides_neither_an_effect_on_one_of_them_nor_what_most_of_them_say(
    means, spread, verdict, reason
):
    """Means and spreads are in smallest effects of interest."""
    claim = CLAIMS["beta"]
    values = pd.concat(
        pd.DataFrame({"problem": f"p{place}", "part": "", "seed": range(5), "value": mean + spread * SPREAD})
        for place, mean in enumerate(means)
    ).assign(value=lambda table: table["value"] * claim.criterion_of("").smallest, floor=0.0, obstacle="")
    table = overall(claim, of_problems(claim, values).assign(study="all"))
    assert table[["verdict", "reason"]].to_numpy().tolist() == [[verdict, reason]]


def whole(name, **changes):
    """One study of a claim with the effect of interest, as tables that a test may change."""
    claim, simulation = CLAIMS[name], SIMULATIONS[name]
    given = {"studies": 1, "n": simulation.n, "effects": effects(claim, 1), "sd": 1e-12} | changes
    return claim, simulation.make(Draw(np.random.default_rng(0), claim=claim, **given))


@pytest.mark.parametrize("name", CLAIMS)
def test_equal_values_neither_make_an_interval_of_zero_width_nor_support_a_claim_without_effect(name):
    claim, made = whole(name, effects=effects(CLAIMS[name], 0))
    found = judge(claim, Made(made))
    assert (found.estimates["high"] - found.estimates["low"] > 1e-4).all()
    assert found.row["verdict"] in ("undecided", "out of reach", *(["contradicted"] * (name in SOUGHT)))


@pytest.mark.parametrize("name", CLAIMS)
def test_three_trainings_decide_nothing_however_large_the_effect(name):
    claim, made = whole(name, n=3)
    found = judge(claim, Made(made))
    assert found.row["verdict"] == "undecided"
    assert "fewer than 4" in found.row["reason"]


ONE_OF_EACH_STUDY = list({claim.study: claim.id for claim in CLAIMS.values()}.values())


@pytest.mark.parametrize(
    "name", [*ONE_OF_EACH_STUDY, "surpasses-all", "rate-shape", "alpha-exact", "normal-case"]
)
def test_what_is_missing_is_not_measured_and_nothing_raises(name):
    claim, made = whole(name)
    assert judge(claim, Made({})).row["verdict"] == "not measured"
    empty = {key: table.iloc[:0] for key, table in made.items()}
    assert judge(claim, Made(empty)).row["verdict"] == "not measured"
    for key, table in made.items():
        fewer = [table.drop(columns=column) for column in table]
        for column in {"method", "variant", "strategy", "dtype"} & set(table):
            fewer += [table[table[column] != value] for value in table[column].unique()]
        for changed in fewer:
            row = judge(claim, Made(made | {key: changed})).row
            assert row["verdict"] in VERDICTS
            assert (row["reason"] == "") == (row["verdict"] in ("supported", "contradicted"))


def test_a_claim_about_all_of_several_rivals_is_not_supported_without_one_of_them():
    claim, made = whole("loss-constant")
    assert judge(claim, Made(made)).row["verdict"] == "supported"
    ((key, runs),) = made.items()
    row = judge(claim, Made({key: runs[runs["method"] != "rmsprop"]})).row
    assert (row["verdict"], row["reason"]) == ("undecided", "not measured: rmsprop")


BY_STEPS = (
    "rate-shape",
    "cost",
    "horizon",
    "normal-case",
    "bfloat16-cases",
    "new-masks-cases",
    "safeguard-idle",
)
BY_RESULTS = [
    name
    for name in CLAIMS
    if name not in BY_STEPS and any("status" in table for table in whole(name)[1].values())
]


@pytest.mark.parametrize("name", BY_RESULTS)
def test_one_diverged_training_supports_nothing(name):
    """It belongs to PAL, or to the first value of a hyper-parameter."""
    claim, made = whole(name, sd=largest_spread(CLAIMS[name], SIMULATIONS[name].n) / 4)
    (key,) = (key for key in made if key[1] == "runs")
    runs = made[key].copy()
    made[key[0], "curves"] = runs[["problem"]].assign(train_loss=2.3)
    runs.loc[runs.index[0], "status"] = "diverged"
    runs.loc[runs.index[0], [column for column in runs if column.startswith(("final_", "test_"))]] = np.nan
    assert judge(claim, Made(made)).row["verdict"] == "supported"
    assert judge(claim, Made(made | {key: runs})).row["verdict"] in (
        "undecided",
        "out of reach",
        "contradicted",
    )


@pytest.mark.parametrize("name", [claim.id for claim in CLAIMS.values() if claim.regime])
def test_a_problem_that_was_not_trained_is_out_of_reach(name):
    claim, made = whole(name)
    made = {
        key: table.assign(final_data_loss=0.3) if "final_data_loss" in table else table
        for key, table in made.items()
    }
    row = judge(claim, Made(made)).row
    assert row["verdict"] == "out of reach"
    assert "best mean loss is 0.3, above 0.1" in row["reason"]
