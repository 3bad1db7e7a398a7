"""Figures: everything that tables can hold is drawn, and the same tables give the same bytes."""

import numpy as np
import pandas as pd
import pytest

from experiments import figures
from experiments.figures import style
from experiments.figures.benchmark import line_style

ENTRIES = [
    "pal",
    "sgd",
    "sgd-step",
    "adam",
    "sls",
    "alig",
    "sgdhd",
    "cocob",
    "prodigy",
    "labpal",
    "a",
    "b",
    "c",
    "d",
]


@pytest.fixture(scope="module")
def benchmark():
    random = np.random.default_rng(0)
    rows, points = [], []
    for method in ENTRIES:
        for setting in ("lr=0.1", "lr=0.01"):
            for seed in range(3):
                loss = float(random.uniform(0.01, 1))
                accuracy = float(random.uniform(0.9, 1))
                diverged = method == "sls" and setting == "lr=0.1"
                rows.append(
                    {
                        "problem": "p",
                        "method": method,
                        "setting": setting,
                        "seed": seed,
                        "status": "diverged" if diverged else "completed",
                        "min_train_loss": np.nan if diverged else loss,
                        "best_val_accuracy": accuracy,
                        "final_val_accuracy": np.nan if diverged else accuracy,
                        "test_accuracy": np.nan if diverged else accuracy,
                    }
                )
                for step in range(10, 60, 10):
                    points.append(
                        {
                            "problem": "p",
                            "method": method,
                            "setting": setting,
                            "seed": seed,
                            "step": step,
                            "train_loss": loss / step,
                            "val_accuracy": np.nan if diverged else accuracy,
                            "learning_rate": np.nan if method == "cocob" else 0.1,
                        }
                    )
    best = pd.DataFrame(
        [
            {"problem": "p", "method": method, "criterion": criterion, "setting": "lr=0.01"}
            for method in ENTRIES
            for criterion in ("training loss", "validation accuracy")
        ]
    )
    return pd.DataFrame(rows), pd.DataFrame(points), best


@pytest.fixture(scope="module")
def lines():
    distances = np.linspace(-0.5, 1.5, 21)
    rows, points = [], []
    for at in (0, 1, 5, 20, 40):
        losses = (distances - 0.5) ** 2 + 1
        numbers = {"mu": 0.1, "step": 0.5, "loss0": 1.25, "loss_mu": 1.16, "slope": -1.0, "curvature": 2.0}
        measures = {
            "locally_convex": 1,
            "step_error": np.nan if at == 5 else 0.1,
            "improvement": 0.9,
            "learning_rate": 0.2,
            "linear_error": 0.01,
            "quadratic_error": 0.001,
            "pal_error": 0.002,
        }
        rows.append({"problem": "p", "seed": 0, "at": at} | numbers | measures)
        points += [
            pd.DataFrame(
                {"problem": "p", "view": view, "seed": 0, "at": at, "distance": distances, "loss": losses}
            )
            for view in ("near", "wide")
        ]
    return pd.DataFrame(rows), pd.concat(points, ignore_index=True)


def times():
    return pd.DataFrame([{"problem": "p", "method": method, "ms_per_step": 2.0} for method in ENTRIES])


def test_the_time_axis_is_steps_times_the_time_of_a_step(benchmark):
    figure = figures.wall_clock(*benchmark[1:], times(), "p")
    over_steps, over_time = figure.axes[0], figure.axes[1]
    for one, other in zip(over_steps.lines, over_time.lines, strict=True):
        np.testing.assert_allclose(np.asarray(other.get_xdata()), 0.002 * np.asarray(one.get_xdata()))


def test_every_swept_hyper_parameter_has_a_panel_and_a_fixed_one_has_none():
    rows = [
        {"problem": "p", "method": method, "setting": f"lr={lr:g} momentum=0.9", "status": status}
        | {"final_val_accuracy": value}
        for method in ("pal", "sgd")
        for lr, status, value in ((0.1, "completed", 0.9), (0.01, "diverged", 0.1))
    ]
    axes = [axes for axes in figures.sensitivity(pd.DataFrame(rows), "p").axes if axes.get_visible()]
    assert [(one.get_title(), one.get_xlabel()) for one in axes] == [("PAL", "lr"), ("SGD", "lr")]
    means = dict(zip(*axes[0].lines[1].get_data(), strict=True))
    confirmed = [rows[0] | {"problem": "q"}, rows[2] | {"problem": "q"}]
    assert figures.swept(pd.DataFrame(rows + confirmed)) == ["p"]
    assert means == {0.1: 0.9, 0.01: 0.0}


def test_the_same_tables_give_the_same_bytes(benchmark, lines, tmp_path):
    for name, draw in {
        "comparison": lambda: figures.comparison(*benchmark, "p"),
        "loss-lines": lambda: figures.loss_lines(*lines, "p"),
        "line-shape": lambda: figures.line_shape(lines[0]),
        "wide-lines": lambda: figures.wide_lines(*lines, "p"),
        "fit-errors": lambda: figures.fit_errors(lines[0]),
        "sensitivity": lambda: figures.sensitivity(benchmark[0], "p"),
        "schedules": lambda: figures.schedules(benchmark[1], "p"),
        "wall-clock": lambda: figures.wall_clock(*benchmark[1:], times(), "p"),
    }.items():
        first, second = (figures.save(draw(), tmp_path / run / name) for run in ("first", "second"))
        assert [file.suffix for file in first] == [".png", ".pdf"]
        for one, other in zip(first, second, strict=True):
            assert one.stat().st_size > 5_000
            assert one.read_bytes() == other.read_bytes()


def test_row_order_of_the_tables_does_not_matter(benchmark, tmp_path):
    shuffled = [table.sample(frac=1, random_state=1) for table in benchmark]
    one = figures.save(figures.comparison(*benchmark, "p"), tmp_path / "one")[0]
    other = figures.save(
        figures.comparison(*(table.sort_index() for table in shuffled), "p"), tmp_path / "other"
    )[0]
    assert one.read_bytes() == other.read_bytes()


def test_every_competitor_is_in_the_legend_and_has_a_box(benchmark):
    figure = figures.comparison(*benchmark, "p")
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    ticks = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert sorted(named) == sorted(ticks) == sorted(style.label(method) for method in ENTRIES)


def test_no_two_competitors_look_alike():
    colour = style.colours([*ENTRIES, "adam-step", "rmsprop", "rmsprop-step"])
    looks = [(colour[method], line_style(method)["linestyle"]) for method in colour]
    assert len(set(looks)) == len(looks)
    assert colour["sgd"] == colour["sgd-step"] == style.PAPER["sgd"]


def test_every_measured_axis_is_named(benchmark, lines):
    for axes in figures.comparison(*benchmark, "p").axes:
        assert axes.get_xlabel()
    for axes in figures.line_shape(lines[0]).axes:
        assert axes.get_ylabel() or axes.get_subplotspec().colspan.start > 0


def test_the_order_is_the_papers():
    assert style.in_order(["zeta", "cocob", "adam-step", "adam", "pal"]) == [
        "pal",
        "adam",
        "adam-step",
        "cocob",
        "zeta",
    ]
