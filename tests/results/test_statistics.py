"""Intervals, degrees of freedom and detectable effects, against scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.results.claims import capacity
from experiments.results.claims.statistics import decided, detectable, estimates, over_problems


def table(*samples, floor=0.0):
    """One problem per sample."""
    rows = [
        {"problem": f"p{place}", "part": "", "seed": seed, "value": value, "floor": floor}
        for place, sample in enumerate(samples)
        for seed, value in enumerate(sample)
    ]
    return pd.DataFrame(rows)


def judged(known, rule="above", bound=0.0, smallest=0.0):
    return decided(known.assign(rule=rule, bound=bound, smallest=smallest), ["part"]).iloc[0]


values = st.lists(st.floats(-10, 10), min_size=3, max_size=12).filter(lambda sample: np.std(sample) > 1e-3)


@settings(max_examples=25)
@given(values)
def test_one_problem_has_students_interval_and_p(sample):
    row = judged(estimates(table(sample)))
    known = stats.ttest_1samp(sample, 0.0)
    interval = known.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["p"] == pytest.approx(known.pvalue, abs=1e-9)


@settings(max_examples=25)
@given(values, values)
def test_two_problems_have_welchs_interval(first, second):
    """The mean of two means is half the difference of one sample from the negative of the other."""
    row = judged(over_problems(estimates(table(first, second))))
    interval = stats.ttest_ind(first, -np.array(second), equal_var=False).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low / 2, interval.high / 2))
    assert row["n"] == len(first) + len(second)


@settings(max_examples=25)
@given(st.floats(-1, 1), st.integers(2, 9), st.floats(0.01, 1))
def test_equal_values_have_the_error_of_their_floor(value, count, floor):
    row = judged(estimates(table([value] * count, floor=floor)))
    assert row["error"] == pytest.approx(floor / np.sqrt(count))
    assert row["high"] > value > row["low"]


def test_rows_of_one_seed_are_one_training():
    twice = pd.concat([table([1.0, 2.0, 4.0]), table([1.0, 2.0, 4.0])])
    assert estimates(twice)["n"].tolist() == [3]


@pytest.mark.parametrize(("rule", "sign"), [("above", 1), ("below", -1)])
@pytest.mark.parametrize("count", [4, 8, 20])
def test_an_effect_of_the_detectable_size_is_found_in_80_of_100_studies(rule, sign, count):
    known = (pd.Series([one]) for one in (1 / np.sqrt(count), count - 1.0, False, 1))
    effect = float(detectable(*known).iloc[0])
    samples = np.random.default_rng(0).normal(sign * effect, 1.0, size=(4000, count))
    rows = pd.DataFrame({"mean": samples.mean(axis=1), "error": samples.std(axis=1, ddof=1) / np.sqrt(count)})
    rows = rows.assign(df=count - 1.0, part=range(len(rows)), study=range(len(rows)))
    rows = rows.assign(rule=rule, bound=0.0, smallest=effect)
    found = decided(rows, ["study"])["supported"].mean()
    assert found == pytest.approx(0.8, abs=0.02)


def test_a_part_contradicts_at_a_level_that_is_divided_among_all():
    """One of four parts is 2.4 standard errors below the bound: enough alone, not among four."""
    rows = pd.DataFrame({"part": list("abcd"), "mean": [-2.4, 9, 9, 9], "error": 1.0, "df": 1e4, "study": 0})
    rows = rows.assign(rule="above", bound=0.0, smallest=0.05)
    assert decided(rows[:1], ["study"])["contradicted"].tolist() == [True]
    assert not decided(rows, ["study"])["contradicted"].any()


@pytest.mark.parametrize(
    ("mean", "changes", "verdict"),
    [
        (0.1, {}, "contradicted"),
        (0.1, {"rule": "below"}, "contradicted"),
        (0.1, {"bound": 0.05}, ""),
        (0.1, {"bound": 1.0, "rule": "within"}, "supported"),
        (0.1, {"smallest": 0.45}, ""),
        (0.1, {"held": True}, ""),
        (0.5, {}, "supported"),
        (-0.5, {"held": True}, "contradicted"),
    ],
)
def test_an_interval_that_excludes_the_effect_of_interest_contradicts_that_there_is_one(
    mean, changes, verdict
):
    """The interval is 0.39 wide; the smallest effect of interest is 1."""
    row = pd.DataFrame({"part": [""], "mean": mean, "error": 0.2, "df": 1e4, "study": 0})
    row = row.assign(**({"rule": "above", "bound": 0.0, "smallest": 1.0} | changes))
    row = decided(row, ["study"]).iloc[0]
    assert [name for name in ("supported", "contradicted") if row[name]] == [verdict] * bool(verdict)


def test_p_is_against_what_the_verdict_is_about():
    rows = pd.DataFrame({"part": "", "mean": [0.1, 0.5], "error": 0.2, "df": 1e4, "study": [0, 1]})
    rows = decided(rows.assign(rule="above", bound=0.0, smallest=1.0), ["study"])
    assert rows["p"].tolist() == pytest.approx(2 * stats.norm.sf([0.9 / 0.2, 0.5 / 0.2]), rel=0.02)


def test_the_correlation_over_cells_has_the_p_of_a_permutation():
    random = np.random.default_rng(0)
    loss = random.normal(size=14)
    value = 0.4 * loss + random.normal(size=14)
    cells = pd.DataFrame({"problem": "cifar10", "part": "", "seed": range(14), "loss": loss, "value": value})
    row = judged(capacity.fisher(cells))
    assert np.tanh(row["mean"]) == pytest.approx(stats.spearmanr(loss, value).statistic)

    known = stats.permutation_test(
        (loss,),
        lambda one: stats.spearmanr(one, value).statistic,
        permutation_type="pairings",
        n_resamples=2000,
        rng=0,
    )
    assert row["p"] == pytest.approx(known.pvalue, abs=0.05)


def test_a_constant_is_correlated_with_nothing():
    cells = pd.DataFrame({"problem": "p", "part": "", "seed": range(6), "loss": range(6), "value": 1.0})
    assert capacity.fisher(cells)["mean"].tolist() == [0.0]
