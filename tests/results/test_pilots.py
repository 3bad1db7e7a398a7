"""What pilots say of spreads: by hand on a small table."""

import numpy as np
import pandas as pd
import pytest

from experiments.results.claims.claim import Claim
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.pilots import spreads
from experiments.results.claims.statistics import Criterion
from experiments.results.tables.pilots import PLAIN, pilots

KEYS = {"problem": "p", "status": "completed"}


def rows():
    """Two methods with two seeds each, whose log10 losses are -1, -3 and -2, -2."""
    for method, losses in (("pal", (1e-1, 1e-3)), ("sgd", (1e-2, 1e-2))):
        for seed, loss in enumerate(losses):
            yield (
                KEYS
                | {"method": method, "setting": "a=1", "seed": seed}
                | dict.fromkeys(PLAIN, 0.5)
                | {
                    "final_train_loss": loss,
                    "final_data_loss": loss,
                }
            )


def test_spreads_are_pooled_over_methods_and_losses_are_logarithmic():
    runs = pd.DataFrame(rows())
    times = runs.assign(seconds=[1.0, 2.0, 3.0, 4.0], seconds_per_step=2.0)
    shapes = {"pal": (1.0, 10.0, 100.0, 10.0), "sgd": (0.1, 0.1, 0.1, 0.1)}
    rates = pd.DataFrame(
        [
            row | {"twentieth": number, "mean_rate": rate}
            for row in rows()
            for number, rate in enumerate(shapes[row["method"]])
        ]
    )
    tables = pilots(runs, times, rates)
    found = tables["pilots"].set_index("measure")
    assert found.loc["final_data_loss", "sd"] == pytest.approx(1.0)  # variances 2 and 0
    assert found.loc["final_data_loss", "mean"] == pytest.approx(-2.0)
    assert set(found["n_seeds"]) == {2}
    assert set(found["seconds"]) == {2.5}
    assert found.loc["log10_rise", "mean"] == pytest.approx(2.0)
    assert found.loc["log10_rate", "mean"] == found.loc["log10_fall", "mean"] == pytest.approx(1.0)
    assert found.loc["log2_seconds_per_step", "mean"] == 1.0
    assert np.isnan(tables["pilots-runs"].set_index("method").loc["sgd", "log10_fall"]).all()


def claim(name, measure, criterion):
    return Claim(name, "", "ours", "", "", criterion, measure, "benchmark")


def values(*rows):
    return pd.DataFrame(rows, columns=["problem", "part", "seed", "value"])


def test_the_spread_of_a_claim_is_that_of_its_own_values_per_criterion():
    """Two parts of "loss" with variances 2 and 8, one of "accuracy" with variance 0.5."""
    table = values(
        ("p", "loss, sgd", 0, 1.0),
        ("p", "loss, sgd", 1, 3.0),
        ("p", "loss, adam", 0, 0.0),
        ("p", "loss, adam", 1, 4.0),
        ("p", "accuracy, sgd", 0, 0.0),
        ("p", "accuracy, sgd", 1, 1.0),
        ("one seed", "loss, sgd", 0, 1.0),
    )
    criterion = Criterion("above", 0.0, 0.1, "", "")
    found = spreads(
        [claim("both", lambda _: table, {"loss": criterion, "accuracy": criterion})], Evidence("pilots")
    )
    found = found.set_index(["problem", "measure"])
    assert found["sd"].to_dict() == pytest.approx(
        {("p", "both, loss"): 5**0.5, ("p", "both, accuracy"): 0.5**0.5}
    )
    assert set(found["n_seeds"]) == {2}


def test_rows_of_the_same_training_count_once():
    table = values(*(("p", "", seed, value) for seed in (0, 1) for value in (seed - 5.0, seed + 5.0)))
    (sd,) = spreads(
        [claim("one", lambda _: table, Criterion("above", 0.0, 0.1, "", ""))], Evidence("pilots")
    )["sd"]
    assert sd == pytest.approx(0.5**0.5)


def test_a_claim_that_the_pilots_do_not_measure_has_no_spread():
    def missing(_):
        raise Missing("no such run")

    assert spreads([claim("none", missing, Criterion("above", 0.0, 0.1, "", ""))], Evidence("pilots")).empty
