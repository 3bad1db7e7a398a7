"""Verdicts about optimizers: whom PAL is compared with, and what a diverged training counts as."""

import numpy as np
import pandas as pd
import pytest

from experiments.results import tables
from experiments.results.claims import benchmark, interpolation
from experiments.results.claims.verdict import Evidence, judge

PAL = {"method": "pal", "setting": "mu=0.1"}
CLAIMS = {claim.id: claim for claim in benchmark.CLAIMS}


def trained(method, setting, losses, validation=None, test=None, problem="p"):
    """One run per seed; one with a loss of None has diverged and the accuracy of chance."""
    whose = {"problem": problem, "method": method, "setting": setting}
    return [
        whose
        | {
            "seed": seed,
            "status": "diverged" if loss is None else "completed",
            "final_train_loss": loss,
            "final_val_accuracy": 0.1 if loss is None else (validation or [0.9] * len(losses))[seed],
            "test_accuracy": 0.1 if loss is None else (test or [0.9] * len(losses))[seed],
        }
        for seed, loss in enumerate(losses)
    ]


def evidence(root, study, rows, **others):
    folder = tables.folder("quick", study, root)
    folder.mkdir(parents=True)
    curves = [{"problem": row["problem"], "train_loss": value} for row in rows for value in (2.0, np.nan)]
    counts = pd.DataFrame([{"problem": "p", "runs": len(rows)}])
    made = {"runs": pd.DataFrame(rows), "curves": pd.DataFrame(curves), "provenance": counts} | others
    for name, table in made.items():
        tables.replace(table, folder / f"{name}.csv")
    return Evidence("quick", root)


def test_the_rival_is_chosen_by_validation_not_by_what_is_compared(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, 0.1], test=[0.9, 0.9])
    rows += trained("sgd", "lr=0.1", [0.1, 0.1], validation=[0.95, 0.95], test=[0.8, 0.8])
    rows += trained("adam", "lr=0.1", [0.1, 0.1], validation=[0.94, 0.94], test=[0.99, 0.99])
    row = judge(CLAIMS["accuracy-constant"], evidence(tmp_path, "benchmark", rows))
    assert row["measured"] == pytest.approx(0.1)
    assert "best rival: sgd on p" in row["explanation"]


def test_a_rival_that_diverged_once_is_not_the_best(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, 0.1])
    rows += trained("sgd", "lr=0.1", [0.001, None]) + trained("adam", "lr=0.1", [0.2, 0.2])
    row = judge(CLAIMS["loss-constant"], evidence(tmp_path, "benchmark", rows))
    assert (row["measured"], row["n"]) == (pytest.approx(np.log10(2)), 2)
    assert "adam" in row["explanation"]


def test_a_pal_that_diverged_counts_against_pal(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1, None]) + trained("sgd", "lr=0.1", [0.2, 0.2])
    row = judge(CLAIMS["loss-constant"], evidence(tmp_path, "benchmark", rows))
    assert (row["measured"], row["n"]) == (pytest.approx((np.log10(2) - 1) / 2), 2)


def test_rivals_that_all_diverged_count_with_the_worst_there_is(tmp_path):
    rows = trained("pal", "mu=0.1", [0.2, 0.2]) + trained("sgd", "lr=0.1", [None, None])
    row = judge(CLAIMS["loss-constant"], evidence(tmp_path, "benchmark", rows))
    assert (row["measured"], row["n"]) == (pytest.approx(1.0), 2)


def test_each_problem_has_its_own_best_rival(tmp_path):
    rows = trained("pal", "mu=0.1", [0.1]) + trained("pal", "mu=0.1", [0.1], problem="q")
    rows += trained("sgd", "lr=0.1", [0.2]) + trained("sgd", "lr=0.1", [0.8], problem="q")
    rows += trained("adam", "lr=0.1", [0.8]) + trained("adam", "lr=0.1", [0.4], problem="q")
    row = judge(CLAIMS["loss-constant"], evidence(tmp_path, "benchmark", rows))
    assert row["measured"] == pytest.approx((np.log10(2) + np.log10(4)) / 2)
    assert "sgd on p, adam on q" in row["explanation"]


def test_a_problem_with_one_setting_says_nothing_of_sensitivity(tmp_path):
    rows = []
    for method, values in (("pal", (0.9, 0.88)), ("sgd", (0.9, 0.5))):
        for setting, value in zip(("a=1", "a=2"), values, strict=True):
            rows += trained(method, setting, [0.1, 0.1], validation=[value, value])
        rows += trained(method, "a=1", [0.1, 0.1], problem="confirmed")
    row = judge(CLAIMS["sensitivity"], evidence(tmp_path, "benchmark", rows))
    assert (row["measured"], row["n"]) == (pytest.approx(0.38), 2)


def test_interpolation_counts_a_diverged_rival(tmp_path):
    rows = trained("pal", "mu=0.1", [0.02, 0.02]) + trained("sgd", "lr=0.1", [0.2, None])
    best = pd.DataFrame([{"problem": "p"} | PAL, {"problem": "p", "method": "sgd", "setting": "lr=0.1"}])
    row = judge(interpolation.CLAIMS[0], evidence(tmp_path, "interpolation", rows, best=best))
    assert (row["measured"], row["n"]) == (pytest.approx(1.5), 2)
