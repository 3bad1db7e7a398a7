"""Figures of verdicts, of PAL against each rival, and of the ranking at equal time."""

import numpy as np
import pandas as pd
import pytest

from experiments import figures
from experiments.figures.benchmark import BOX
from experiments.figures.style import tried

LOSS, ACCURACY = "loss-constant", "accuracy-constant"


def estimate(claim, part, problem, mean):
    return {"id": claim, "part": part, "problem": problem, "mean": mean, "low": mean - 1, "high": mean + 1}


def test_the_matrix_has_a_field_per_claim_and_problem_with_the_symbol_of_its_verdict():
    names = ["supported", "contradicted", "undecided", "out of reach", "not measured"]
    matrix = pd.DataFrame([names, names[::-1]], ["one", "two"], ["over problems", "A", "B", "C", "D"])
    figure = figures.verdicts(matrix, dict(zip("ABCD", ("p", "q", "r", "s"), strict=True)))
    (axes,) = figure.axes
    assert len(axes.patches) == matrix.size
    assert [text.get_text() for text in axes.texts[:5]] == ["✓", "✗", "?", "–", ""]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]
    assert "A  p" in axes.get_xlabel()


def test_each_rival_has_an_interval_per_problem_and_quantity():
    rows = [estimate(LOSS, "sgd", problem, 0.1) for problem in ("p", "q", "over problems")]
    rows += [
        estimate("surpasses-all", "accuracy, sls", "p", 0.2),
        estimate("surpasses-all", "loss, sls", "p", 0.3),
    ]
    rows += [estimate(ACCURACY, "adam", "p", 0.4), estimate("beta", "", "p", 9.0)]
    table = figures.against_rivals(pd.DataFrame(rows))
    found = table.groupby(["quantity", "rival"]).size().to_dict()
    assert found == {("loss", "sgd"): 3, ("loss", "sls"): 1, ("accuracy", "sls"): 1, ("accuracy", "adam"): 1}
    loss, accuracy = figures.forest(table).axes
    assert len([line for line in loss.lines if line.get_marker() != "None" and len(line.get_xdata())]) == 4
    assert [text.get_text() for text in loss.get_yticklabels()] == ["SGD", "Adam", "SLS"]
    assert accuracy.get_xlabel()


@pytest.fixture
def race():
    """PAL halves its loss with every step of 2 s; SGD by less, but with steps of 1 s."""
    keys = {"problem": "p", "setting": "a", "seed": 0}
    methods = {"pal": (2.0, 0.5), "sgd": (1.0, 0.6)}
    runs = pd.DataFrame([keys | {"method": name, "phase": "evaluation"} for name in methods])
    curves = pd.DataFrame(
        [
            keys | {"method": name, "step": step, "train_loss": factor**step}
            for name, (_, factor) in methods.items()
            for step in (1, 2, 3, 4)
        ]
    )
    times = pd.DataFrame(
        [keys | {"method": name, "seconds_per_step": time} for name, (time, _) in methods.items()]
    )
    best = runs[["problem", "method", "setting"]].assign(criterion="training loss")
    return runs, curves, best, times


def test_at_equal_time_the_slower_steps_are_fewer(race):
    table = figures.at_equal_time(*race, "p").set_index("method")
    assert table["budget"].tolist() == [4.0, 4.0]
    assert table["at_steps"].to_dict() == pytest.approx({"pal": 0.5**4, "sgd": 0.6**4})
    assert table["at_time"].to_dict() == pytest.approx({"pal": 0.5**2, "sgd": 0.6**4})
    assert table["rank_at_steps"].to_dict() == {"pal": 1, "sgd": 2}
    assert table["rank"].to_dict() == {"pal": 2, "sgd": 1}
    figure = figures.equal_time(table.reset_index(), "p")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["SGD", "PAL"]


def test_at_equal_time_a_difference_in_the_last_digit_is_drawn_within_the_figure():
    loss = 0.0123
    ranks = pd.DataFrame(
        {"method": ["pal"], "at_steps": [loss], "at_time": [loss * (1 + 1e-15)], "budget": 0.01}
    )
    figure = figures.equal_time(ranks, "p", width=3.3, font_size=8, title=False)
    figure.draw_without_rendering()
    assert figure.get_tightbbox().x1 <= figure.get_figwidth() + 0.05


def test_few_runs_are_points_without_a_box_and_fresh_seeds_do_not_count_twice():
    runs = pd.DataFrame(
        {"problem": "p", "setting": "a", "seed": range(7), "phase": ["selection"] * 3 + ["evaluation"] * 4}
    )
    assert tried(runs)["seed"].tolist() == [0, 1, 2]
    assert len(tried(runs.assign(phase="evaluation"))) == 7
    columns = {"min_train_loss": 0.1, "best_val_accuracy": 0.9, "test_accuracy": 0.9, "phase": "evaluation"}
    many = pd.DataFrame(
        {"method": ["pal"] * BOX + ["sgd"], "problem": "p", "setting": "a", "seed": 0} | columns
    )
    many = many.assign(min_train_loss=np.linspace(0.1, 0.2, len(many)))
    curves = many.assign(step=1, train_loss=0.1, val_accuracy=many["min_train_loss"], learning_rate=0.1)
    best = pd.DataFrame(
        [
            {"problem": "p", "method": name, "setting": "a", "criterion": criterion}
            for name in ("pal", "sgd")
            for criterion in ("training loss", "validation accuracy")
        ]
    )
    axes = figures.comparison(many, curves, best, "p").axes[1]
    assert len(axes.patches) == 1
    assert len(axes.collections) == 2
