"""Tables and figures of step adaptation and of exact line searches."""

import numpy as np
import pandas as pd
from made import finished as finished_run
from made import trained

from experiments import figures
from experiments.results.tables.adaptation import adaptation as adaptation_tables
from experiments.results.tables.exactness import exactness as exactness_tables
from experiments.training.config import resolve


def finished(folder, config, **arrays):
    """A finished run of five steps."""
    curve = {"evaluation_step": [2, 4, 5], "train_loss": [1.0, 0.5, 0.3], "learning_rate": [0.1] * 3}
    curve |= {"val_accuracy": [0.5, 0.8, 0.9]}
    series = {f"evaluations__{name}": values for name, values in curve.items()}
    series |= {"step": [1.0, 3.0, 5.0, 7.0, 9.0], "case": np.zeros(5)}
    names = ("final_train_loss", "min_train_loss", "final_val_accuracy", "best_val_accuracy", "test_accuracy")
    return finished_run(folder, config, dict.fromkeys(names, 0.5), **series | arrays)


def test_steps_are_averaged_between_evaluations(tmp_path):
    config = resolve("exactness", problem="digits-mlp", method="exact", optimizer="exact", steps=5)
    curves = exactness_tables([finished(tmp_path / "a", config)])["curves"]
    assert curves["step"].tolist() == [2, 4, 5]
    assert curves["step_size"].tolist() == [2.0, 6.0, 9.0]


def test_steps_are_compared_with_the_minimum_of_their_line(tmp_path):
    config = resolve("adaptation", problem="digits-mlp", optimizer="pal", settings={"mu": 0.1}, steps=5)
    lines = {"at": [0, 2, 4], "step": [0.5, 3.0, 0.1], "exact": [1.0, 2.0, 0.0], "angle": [60.0, 120.0, 90.0]}
    lines |= {"loss0": [2.0] * 3, "loss_step": [1.25, 1.25, 2.0], "loss_exact": [1.0, 1.0, 2.0]}
    double = [[step, 2 * step] for step in lines["step"]]
    lines |= {
        "alpha": [[1.0, 2.0]] * 3,
        "alpha_step": double,
        "alpha_angle": double,
        "alpha_loss": [[1.25, 1.0]] * 3,
    }
    run = finished(tmp_path / "a", config, **{f"lines__{name}": values for name, values in lines.items()})
    made = adaptation_tables([run])
    lines, runs = made["lines"], made["runs"]
    np.testing.assert_allclose(lines["ratio"], [0.5, 1.5, np.nan])
    np.testing.assert_allclose(lines["step_error"], [0.5, 0.5, np.nan])
    np.testing.assert_allclose(lines["improvement"], [0.75, 0.75, np.nan])  # it falls nowhere: no minimum
    assert runs[["median_ratio", "median_angle"]].to_numpy().tolist() == [[1.0, 90.0]]
    of_first = made["alphas"].loc[made["alphas"]["at"] == 0].set_index("alpha")
    assert of_first["ratio"].to_dict() == {1.0: 0.5, 2.0: 1.0}
    assert of_first["improvement"].to_dict() == {1.0: 0.75, 2.0: 1.0}


def test_figures_show_every_competitor_and_name_every_axis():
    steps = {"problem": "p", "step": [10, 20], "train_loss": [1.0, 0.1], "val_accuracy": [0.5, 0.9]}
    steps |= {"step_size": [0.1, 0.2], "learning_rate": [0.1, 0.2]}
    methods = ["pal", "exact", "exact-adapted", "sgd", "mine"]
    curves = pd.concat([pd.DataFrame(steps | {"method": method}) for method in methods])
    figure = figures.exact_training(
        curves.assign(step_size=curves["step_size"].where(curves["method"] != "sgd"))
    )
    assert len(figure.legends[0].get_texts()) == len(methods)
    rows = [
        row | {"alpha": alpha, "median_angle": angle, "median_step_error": error}
        for alpha, angle, error in ((1.0, 80, 0.2), (1.25, 88, 0.1), (1.67, 95, 0.3))
        for row in trained("pal", [0.1] * 3)
    ]
    runs = pd.DataFrame(rows)
    for drawn in (figure, figures.step_adaptation(runs)):
        assert all(axes.get_ylabel() for axes in drawn.axes)
        assert drawn.axes[-1].get_xlabel()
