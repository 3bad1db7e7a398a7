"""The benchmark: who is ahead, and the paper's numbers."""

import numpy as np
import pandas as pd
import pytest
from made import trained as trained_runs

from experiments.results.tables import paper_numbers
from experiments.results.tables.benchmark import best, ranking, with_published


def trained(method, setting, losses, validation=None, test=None, problem="p"):
    return trained_runs(method, losses, validation, test, setting=setting, problem=problem)


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
