"""Columns that tables of any trainings have: fractions of steps, rates, the edge of a grid, and phases."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.results.tables.benchmark import best, ranking, rates
from experiments.results.tables.trainings import fractions


def run(steps, cases, clipped, phase="evaluation", **settings):
    """A finished run with these steps."""
    settings = {"mu": 0.2, "alpha": 1.0} | settings
    trace = {"step": steps, "case": cases, "clipped": clipped, "learning_rate": np.arange(len(steps))}
    config = SimpleNamespace(settings=settings, problem="p", method="pal", setting="", seed=0, phase=phase)
    return SimpleNamespace(
        key="0123456789abcdef",
        config=config,
        trace={name: np.asarray(values, float) for name, values in trace.items()},
    )


def test_a_step_of_half_mu_says_nothing_whatever_alpha():
    # mu / 2 = 0.1, 5 % of it are 0.005; the last step is not at the minimum of a parabola.
    found = fractions(run([0.1, 0.104, 0.106, 0.1], [0, 0, 0, 1], [0, 0, 1, 0]))
    assert found == {"normal_fraction": 0.75, "clipped_fraction": 0.25, "uninformative_fraction": 0.5}
    assert fractions(run([0.2, 0.1], [0, 0], [0, 0], alpha=2.0))["uninformative_fraction"] == 0.5


def test_optimizers_without_a_line_have_no_fractions():
    nothing = run([np.nan] * 3, [np.nan] * 3, [np.nan] * 3)
    nothing.config.settings = {"lr": 0.1}
    assert set(fractions(nothing).values()) == {None}


def test_rates_are_means_of_twentieths_of_judged_trainings():
    table = rates(run(np.zeros(40), np.zeros(40), np.zeros(40)))
    assert table["twentieth"].tolist() == list(range(20))
    assert table["mean_rate"].tolist() == [2 * part + 0.5 for part in range(20)]
    assert rates(run([0.0], [0.0], [0.0], phase="selection")).empty


def rows(method, setting, phase, losses):
    accuracy = {"final_val_accuracy_reestimated": 0.5, "test_accuracy_reestimated": 0.5}
    return [
        {
            "problem": "p",
            "method": method,
            "setting": setting,
            "phase": phase,
            "seed": seed,
            "status": "completed",
        }
        | {"final_train_loss": loss}
        | accuracy
        for seed, loss in losses.items()
    ]


@pytest.fixture
def runs():
    """PAL with lr=0.1 is best on the seeds that select, and worse than another setting on a fresh one."""
    return pd.DataFrame(
        rows("pal", "mu=0.1 beta=0", "selection", {100: 0.1})
        + rows("pal", "mu=0.3 beta=0", "selection", {100: 0.2})
        + rows("pal", "mu=1 beta=0", "selection", {100: 0.3})
        + rows("pal", "mu=0.1 beta=0", "evaluation", {0: 0.9, 1: 0.7})
        + rows("sgd", "lr=0.1", "selection", {100: 0.3})
        + rows("sgd", "lr=0.2", "selection", {100: 0.2})
        + rows("sgd", "lr=0.4", "selection", {100: 0.3})
        + rows("sgd", "lr=0.2", "evaluation", {0: 0.09, 1: 0.07})
    )


def test_selecting_seeds_choose_and_fresh_ones_are_averaged(runs):
    chosen = best(runs)
    by_loss = chosen[chosen["criterion"] == "training loss"].set_index("method")
    assert by_loss["setting"].to_dict() == {"pal": "mu=0.1 beta=0", "sgd": "lr=0.2"}
    assert by_loss["n"].tolist() == [2, 2]
    assert by_loss["train_loss_mean"].tolist() == pytest.approx([0.8, 0.08])
    assert by_loss["at_edge"].to_dict() == {"pal": "mu", "sgd": ""}
    order = ranking(runs)
    order = order[order["criterion"] == "training loss"].set_index("method")
    assert order["rank"].to_dict() == {"sgd": 1, "pal": 2}
    assert order.loc["sgd", "behind_pal"] == pytest.approx(-1)
    assert order.loc["sgd", "n"] == 2


def test_without_selecting_seeds_the_same_runs_choose_and_are_judged(runs):
    fresh = best(runs[runs["phase"] == "evaluation"])
    assert fresh["n"].tolist() == [2] * 4
