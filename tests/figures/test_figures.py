"""Figures: everything that tables can hold is drawn, and the same tables give the same bytes."""

import inspect
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments import figures
from experiments.common.labels import label
from experiments.figures import style
from experiments.figures.benchmark import line_style
from experiments.figures.style import styled

ENTRIES = ["pal", "sgd", "sgd-step", "adam", "sls", "alig", "sgdhd", "cocob", "labpal", "a", "b", "c", "d"]
SEEDS = range(3)


@pytest.fixture(scope="module")
def benchmark():
    """Runs, curves and best settings; SLS has diverged with one of its two settings."""
    settings = pd.DataFrame({"problem": "p", "setting": ["lr=0.1", "lr=0.01"]})
    runs = settings.merge(pd.DataFrame({"method": ENTRIES}), "cross").merge(
        pd.DataFrame({"seed": SEEDS}), "cross"
    )
    random = np.random.default_rng(0)
    diverged = (runs["method"] == "sls") & (runs["setting"] == "lr=0.1")
    loss, accuracy = random.uniform(0.01, 1, len(runs)), pd.Series(random.uniform(0.9, 1, len(runs)))
    runs = runs.assign(
        status=np.where(diverged, "diverged", "completed"),
        min_train_loss=np.where(diverged, np.nan, loss),
        best_val_accuracy=accuracy,
        final_val_accuracy=accuracy.mask(diverged),
        test_accuracy=accuracy.mask(diverged),
    )
    curves = runs.merge(pd.DataFrame({"step": range(10, 60, 10)}), "cross")
    curves = curves.assign(
        train_loss=np.repeat(loss, 5) / curves["step"],
        val_accuracy=curves["final_val_accuracy"],
        learning_rate=np.where(curves["method"] == "cocob", np.nan, 0.1),
    )
    criteria = pd.DataFrame({"criterion": ["training loss", "validation accuracy"]})
    return (
        runs,
        curves,
        settings[1:].merge(pd.DataFrame({"method": ENTRIES}), "cross").merge(criteria, "cross"),
    )


@pytest.fixture(scope="module")
def lines():
    """Five lines and their points in two views; one has no minimum."""
    numbers = {"mu": 0.1, "step": 0.5, "loss0": 1.25, "loss_mu": 1.16, "slope": -1.0, "curvature": 2.0}
    numbers |= {"hull_distance": 0.0, "log_ratio": [0.1, 0.1, np.nan, 0.1, 0.1], "improvement_fraction": 0.9}
    numbers |= {"learning_rate": 0.2, "linear_error": 0.01, "quadratic_error": 0.001, "pal_error": 0.002}
    table = pd.DataFrame({"problem": "p", "seed": 0, "at": [0, 1, 5, 20, 40]} | numbers)
    distances = np.linspace(-0.5, 1.5, 21)
    points = pd.DataFrame({"distance": distances, "loss": (distances - 0.5) ** 2 + 1})
    keys = ["problem", "mu", "seed", "at"]
    views = pd.DataFrame({"view": ["near", "wide"]}).merge(table[keys], "cross")
    return table, views.merge(points, "cross")


def pixels(figure):
    """A figure as it is shown on a screen."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def times():
    return pd.DataFrame([{"problem": "p", "method": method, "seconds_per_step": 0.002} for method in ENTRIES])


def convex():
    rows = [{"radius": radius, "convex_fraction": 1 / radius} for radius in (1.0, 2.0, 5.0)]
    return (
        pd.DataFrame(rows).assign(seed=0).merge(pd.DataFrame({"problem": "p", "mu": [0.1, 0.001]}), "cross")
    )


def test_problems_with_several_mu_have_a_panel_for_each():
    titles = [axes.get_title() for axes in figures.convexity(convex()).axes]
    assert titles == ["p\nmu 0.001", "p\nmu 0.1"]


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


def test_the_same_tables_give_the_same_pictures(benchmark, lines):
    for draw in (
        lambda: figures.comparison(*benchmark, "p"),
        lambda: figures.loss_lines(*lines, "p"),
        lambda: figures.line_shape(lines[0]),
        lambda: figures.convexity(convex()),
        lambda: figures.wide_lines(*lines, "p"),
        lambda: figures.fit_errors(lines[0]),
        lambda: figures.sensitivity(benchmark[0], "p"),
        lambda: figures.schedules(benchmark[1], "p"),
        lambda: figures.wall_clock(*benchmark[1:], times(), "p"),
    ):
        assert pixels(draw()) == pixels(draw())


def test_the_same_figure_has_the_same_bytes_as_png_and_pdf(lines, tmp_path):
    saved = [figures.save(figures.fit_errors(lines[0]), tmp_path / run / "a") for run in ("first", "second")]
    assert [file.suffix for file in saved[0]] == [".png", ".pdf"]
    for one, other in zip(*saved, strict=True):
        assert one.stat().st_size > 5_000
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("font_size", [7.0, 9.0, 16.0])
def test_size_and_style_are_those_of_the_caller(benchmark, font_size):
    style = {"lines.linewidth": 4.0, "axes.facecolor": "#ffffee"}
    figure = figures.comparison(*benchmark, "p", width=5.5, height=8.0, font_size=font_size, style=style)
    assert tuple(figure.get_size_inches()) == (5.5, 8.0)
    axes = figure.axes[0]
    figure.draw_without_rendering()
    assert {text.get_size() for text in (axes.yaxis.label, *axes.get_xticklabels())} == {font_size}
    assert axes.get_facecolor() == (1.0, 1.0, pytest.approx(14 / 15), 1.0)


def test_without_wishes_text_is_that_of_the_report_whatever_the_callers_rcparams(lines):
    def sizes():
        figure = figures.fit_errors(lines[0])
        figure.draw_without_rendering()
        return {text.get_size() for text in figure.findobj(Text) if text.get_text()}

    with mpl.rc_context(
        {"font.size": 20, "axes.labelsize": 30, "xtick.labelsize": 30, "legend.fontsize": 30}
    ):
        assert sizes() == {9.0}


def test_every_figure_takes_size_and_style_and_shows_that_it_does():
    drawn = [function for name, function in vars(figures).items() if is_figure(function)]
    assert len(drawn) > 15
    for function in drawn:
        assert {"width", "height", "font_size", "style", "title"} <= set(
            inspect.signature(function).parameters
        )


def is_figure(function):
    return inspect.isfunction(function) and inspect.signature(function).return_annotation is Figure


def test_a_figure_that_calls_another_passes_its_size_and_style_on(lines):
    outer = styled(lambda table: figures.fit_errors(table))
    figure = outer(lines[0], width=4.0, font_size=14.0)
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 4.0
    assert {text.get_size() for text in figure.findobj(Text) if text.get_text()} == {14.0}


def test_a_figure_has_no_title_if_none_is_wanted(lines):
    assert figures.loss_lines(*lines, "p").get_suptitle()
    assert not figures.loss_lines(*lines, "p", title=False).get_suptitle()


@pytest.mark.parametrize("count", [1, 3, 6])
def test_names_of_many_problems_side_by_side_do_not_overlap(lines, count):
    names = [f"a-network-with-a-long-name-{number}" for number in range(count)]
    table = pd.concat([lines[0].assign(problem=name) for name in names])
    figure = figures.line_shape(table)
    figure.draw_without_rendering()
    titles = [axes.title.get_window_extent() for axes in figure.axes[:count]]
    assert all(left.x1 < right.x0 for left, right in pairwise(titles))


def test_lines_measured_with_several_mu_are_all_shown_and_named(lines):
    table, points = (pd.concat([one, one.assign(mu=0.001)]) for one in lines)
    panels = {axes.get_title() for axes in figures.loss_lines(table, points, "p").axes if axes.get_visible()}
    assert panels == {f"step {at}, mu {mu}" for at in lines[1]["at"].unique() for mu in (0.1, 0.001)}


def test_a_narrow_figure_has_fewer_columns_and_the_same_panels(benchmark):
    curves = benchmark[1].assign(learning_rate=benchmark[1].index + 1.0, schedule="none")

    def places(width):
        figure = figures.schedules(curves, "p", width=width)
        shown = [axes for axes in figure.axes if axes.get_visible()]
        return len(shown), len({axes.get_subplotspec().colspan.start for axes in shown})

    (count, wide), (same, narrow) = places(7.2), places(3.3)
    assert (count, wide, narrow) == (same, 3, 1)


def test_learning_rates_are_shown_of_every_method_that_changes_them_whatever_its_name(benchmark):
    curves = benchmark[1].assign(schedule="none", learning_rate=0.1)
    changing = curves["method"].isin(["pal", "a", "d"])
    curves["learning_rate"] = curves["learning_rate"].where(~changing, curves["step"])
    panels = [axes.get_title() for axes in figures.schedules(curves, "p").axes if axes.get_visible()]
    assert panels == ["PAL", "a", "d"]


def test_every_competitor_is_in_the_legend_and_has_a_box(benchmark):
    figure = figures.comparison(*benchmark, "p")
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    ticks = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert sorted(named) == sorted(ticks) == sorted(label(method) for method in ENTRIES)


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
    order = ["pal", "adam", "adam-step", "cocob", "zeta"]
    assert style.in_order(["zeta", "cocob", "adam-step", "adam", "pal"]) == order
