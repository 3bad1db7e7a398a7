"""The benchmark: who is ahead, whom PAL is compared with, and what a diverged training counts as."""

import numpy as np
import pandas as pd
import pytest
from made import evidence, judged
from made import trained as trained_runs

from experiments.results.claims import benchmark, interpolation
from experiments.results.tables import paper_numbers
from experiments.results.tables.benchmark import best, ranking, with_published


def trained(method, setting, losses, validation=None, test=None, problem="p"):
    return trained_runs(method, losses, validation, test, setting=setting, problem=problem)


def verdict(root, name, rows):
    return judged(benchmark, name, evidence(root, "benchmark", rows))


def test_the_rival_is_chosen_by_validation_not_by_what_is_compared(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, 0.1], test=[0.9, 0.9])
    rows += trained("sgd", "lr=0.1", [0.1, 0.1], validation=[0.95, 0.95], test=[0.8, 0.8])
    rows += trained("adam", "lr=0.1", [0.1, 0.1], validation=[0.94, 0.94], test=[0.99, 0.99])
    row = verdict(tmp_path, "accuracy-constant", rows)
    assert row["measured"] == pytest.approx(0.1)
    assert "best rival: sgd on p" in row["explanation"]


def test_a_rival_that_diverged_once_is_not_the_best(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, 0.1])
    rows += trained("sgd", "lr=0.1", [0.001, None]) + trained("adam", "lr=0.1", [0.2, 0.2])
    row = verdict(tmp_path, "loss-constant", rows)
    assert (row["measured"], row["n"]) == (pytest.approx(np.log10(2)), 2)
    assert "adam" in row["explanation"]


def test_a_pal_that_diverged_counts_against_pal(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, None]) + trained("sgd", "lr=0.1", [0.2, 0.2])
    row = verdict(tmp_path, "loss-constant", rows)
    assert (row["measured"], row["n"]) == (pytest.approx((np.log10(2) - 1) / 2), 2)


def test_rivals_that_all_diverged_count_with_the_worst_there_is(tmp_path):
    rows = trained("pal", "mu=0.1", [0.2, 0.2]) + trained("sgd", "lr=0.1", [None, None])
    row = verdict(tmp_path, "loss-constant", rows)
    assert (row["measured"], row["n"]) == (pytest.approx(1.0), 2)


def test_each_problem_has_its_own_best_rival(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1]) + trained("pal", "mu=0.1", [0.1], problem="q")
    rows += trained("sgd", "lr=0.1", [0.2]) + trained("sgd", "lr=0.1", [0.8], problem="q")
    rows += trained("adam", "lr=0.1", [0.8]) + trained("adam", "lr=0.1", [0.4], problem="q")
    row = verdict(tmp_path, "loss-constant", rows)
    assert row["measured"] == pytest.approx((np.log10(2) + np.log10(4)) / 2)
    assert "sgd on p, adam on q" in row["explanation"]


def test_a_problem_with_one_setting_says_nothing_of_sensitivity(tmp_path):
    rows = []
    for method, values in (("pal", (0.9, 0.88)), ("sgd", (0.9, 0.5))):
        for setting, value in zip(("a=1", "a=2"), values, strict=True):
            rows += trained(method, setting, [0.1, 0.1], validation=[value, value])
        rows += trained(method, "a=1", [0.1, 0.1], problem="confirmed")
    row = verdict(tmp_path, "sensitivity", rows)
    assert (row["measured"], row["n"]) == (pytest.approx(0.38), 2)


def test_interpolation_counts_a_diverged_rival(tmp_path):
    rows = trained("pal", "mu=0.1", [0.02, 0.02]) + trained("sgd", "lr=0.1", [0.2, None])
    chosen = pd.DataFrame(rows)[["problem", "method", "setting"]].drop_duplicates()
    row = judged(interpolation, "interpolation", evidence(tmp_path, "interpolation", rows, best=chosen))
    assert (row["measured"], row["n"]) == (pytest.approx(1.5), 2)


RUNS = pd.DataFrame(
    trained("pal", "mu=0.1", [0.1] * 3)
    + trained("pal", "mu=1", [0.5] * 3, [0.8] * 3)
    + trained("sgd", "lr=0.1", [0.2] * 3, [0.95, 0.92, 0.92])
    + trained("sls", "c=0.1", [None] * 3)
)


def test_competitors_are_in_order_of_their_selected_setting():
    table = ranking(RUNS).set_index(["criterion", "method"])
    loss, accuracy = table.loc["training loss"], table.loc["validation accuracy"]
    assert loss["rank"].to_dict() == {"pal": 1, "sgd": 2, "sls": 3}
    assert accuracy["rank"].to_dict() == {"sgd": 1, "pal": 2, "sls": 3}
    assert loss.loc["pal", "value"] == pytest.approx(0.1)


def test_the_distance_to_pal_is_paired_and_has_an_interval():
    table = ranking(RUNS).set_index(["criterion", "method"])
    behind = table.loc[("training loss", "sgd")]
    assert behind["behind_pal"] == pytest.approx(np.log10(2))
    assert behind["n"] == 3
    ahead = table.loc[("validation accuracy", "sgd")]
    assert ahead["behind_pal"] == pytest.approx(-0.03)
    # Student's interval of -0.05, -0.02, -0.02: 0.01 is their standard error, 4.303 the quantile for three values.
    assert ahead["low"] == pytest.approx(-0.03 - 0.01 * 4.303, abs=1e-5)
    assert ahead["high"] == pytest.approx(-0.03 + 0.01 * 4.303, abs=1e-5)
    assert np.isnan(table.loc[("training loss", "sls"), "behind_pal"])


def test_the_papers_numbers_stand_beside_ours_where_they_are_known():
    known = "cifar100-mobilenetv2"
    runs = [row for name in (known, "p") for row in trained("pal", "mu=0.1", [0.2], [0.7], problem=name)]
    table = with_published(best(pd.DataFrame(runs))).set_index(["problem", "criterion"])
    ours = table.loc[(known, "validation accuracy")]
    assert ours["test_accuracy_published"] == paper_numbers.TEST_ACCURACY[known, "pal"] == 0.722
    assert ours["test_accuracy_difference"] == pytest.approx(0.7 - 0.722)
    assert np.isnan(table.loc[("p", "training loss"), "train_loss_published"])
