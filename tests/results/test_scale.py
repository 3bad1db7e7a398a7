"""Tables and figures of batch sizes and of capacities."""

import json

import numpy as np
import pandas as pd
import pytest
from made import finished

from experiments import figures
from experiments.results.tables import fingerprints
from experiments.results.tables.batchsize import STRATEGIES, summary
from experiments.results.tables.batchsize import batchsize as batchsize_tables
from experiments.results.tables.capacity import PARTS
from experiments.results.tables.capacity import capacity as capacity_tables
from experiments.runs.finished import FinishedRun
from experiments.training.config import resolve

SIZES = [8, 32, 128]


def measured(folder, improvement):
    """A run of four measured steps at three sizes; at the last one the loss was not finite."""
    config = resolve("batchsize", problem="digits-mlp", optimizer="sgd-plain", settings={"lr": 0.1}, steps=5)
    shape = (4, len(SIZES))
    arrays = {"lines__at": np.arange(4), "lines__size": np.tile(SIZES, (4, 1)), "lines__norm": np.ones(shape)}
    for place, name in enumerate(STRATEGIES):
        arrays[f"lines__{name}_step"] = np.full(shape, 1.0 + place)
        arrays[f"lines__{name}_improvement"] = np.tile(improvement(name, np.array(SIZES)), (4, 1))
    arrays["lines__pal_improvement"][3, 0] = np.nan
    return finished(folder, config, {}, **arrays)


def test_improvements_are_compared_with_the_optimum_of_the_same_size(tmp_path):
    run = measured(tmp_path / "a", lambda name, sizes: sizes / (1.0 if name == "optimum" else 4.0))
    made = batchsize_tables([run])
    assert len(made["strategies"]) == 3 * len(SIZES) * len(STRATEGIES)  # a loss of one step was not finite
    pal = made["summary"].set_index(["strategy", "size"]).loc["pal"]
    assert pal["improvement"].tolist() == [2.0, 8.0, 32.0]
    assert pal["fraction_of_optimum"].tolist() == [0.25] * 3
    assert pal["distance"].tolist() == [-2.0] * 3
    assert (pal["lines"] == 3).all()
    for name in ("improvement", "step", "distance"):
        assert pal[f"{name}_low"].tolist() == pal[f"{name}_high"].tolist() == pal[name].tolist()


def lines():
    """Ten alike measured steps."""
    same = {"problem": "p", "seed": 0, "step": 0.1, "improvement": 8.0, "distance": 0.0, "key": "k"}
    return pd.DataFrame(
        [
            same | {"strategy": name, "size": size, "at": at}
            for name in STRATEGIES
            for size in SIZES
            for at in range(10)
        ]
    )


def trained(folder, images, rates, loss):
    config = resolve("capacity", problem="digits-mlp", optimizer="pal", steps=2 * PARTS, train_size=images)
    rates = np.repeat(rates, 2 * PARTS // len(rates))
    arrays = {"learning_rate": rates, "train_loss": np.full(2 * PARTS, loss), "lines__at": [30, 35]}
    arrays |= {"lines__step": [0.3, 0.3], "lines__batch": [0.4, 0.0], "lines__full": [0.1, 0.1]}
    return finished(folder, config, {"weights": 7}, **arrays)


def test_a_training_that_ends_before_its_lines_is_in_the_tables(tmp_path):
    whole = trained(tmp_path / "a", 128, [1.0, 4.0, 2.0, 1.0], 0.5)
    short = trained(tmp_path / "b", 256, [1.0, 4.0, 2.0, 1.0], 0.5)
    arrays = {name: values for name, values in short.trace.items() if not name.startswith("lines/")}
    np.savez(short.directory / "trace.npz", **arrays)
    made = capacity_tables([whole, FinishedRun("b", short.config, short.directory)])
    runs = made["runs"].set_index("images")
    assert np.isnan(runs.loc[256, "gap"])
    assert runs.loc[128, "gap"] == pytest.approx(0.1)
    assert set(made["lines"]["images"]) == {128}


def test_first_steps_are_kept_of_runs_that_differ_in_more_than_their_seed(tmp_path):
    several = [trained(tmp_path / str(images), images, [1.0, 2.0], 0.5) for images in (128, 256)]
    for run in several:
        made = {"provenance": dict.fromkeys(fingerprints.ENVIRONMENT, "here")}
        (run.directory / "info.json").write_text(json.dumps(made))
    other = several[0].config.model_copy(update={"seed": 1})
    several.insert(0, FinishedRun("c", other, several[0].directory))
    table = fingerprints.table(several, "experiments.results.tables.capacity")
    kept = [json.loads(config) for config in table["config"]]
    assert [(config["train_size"], config["seed"]) for config in kept] == [(128, 0), (256, 0)]


def test_rates_are_compared_with_the_highest_of_the_training(tmp_path):
    made = capacity_tables([trained(tmp_path / "a", 128, [1.0, 4.0, 2.0, 1.0], 0.5)])
    (row,) = made["runs"].to_dict("records")
    assert (row["peak_rate"], row["final_rate"], row["rate_ratio"]) == (4.0, 1.0, 0.25)
    assert (row["final_train_loss"], row["weights"], row["images"]) == (0.5, 7, 128)
    assert len(made["curves"]) == PARTS
    np.testing.assert_allclose(made["lines"]["gap"], [0.3, -0.1])
    np.testing.assert_allclose(made["lines"]["overshoot"], [0.75, np.nan])  # a line that falls nowhere


def cells():
    """Trainings of eight networks, of which the larger ones fit their data better."""
    places = np.arange(8.0)
    return pd.DataFrame(
        {
            "problem": [f"p{place}" for place in range(8)],
            "weights": 10 * (places + 1),
            "images": 64,
            "seed": 0,
            "final_train_loss": 10 ** (-places),
            "rate_ratio": 1 - places / 8,
            "gap": -places,
            "overshoot": 0.5,
        }
    )


def test_figures_show_every_strategy_and_name_every_axis():
    figure = figures.batch_sizes(summary(lines()))
    assert len(figure.legends[0].get_texts()) == len(STRATEGIES)
    runs = cells()
    curves = runs.loc[runs.index.repeat(3), ["problem", "images", "seed"]]
    curves = curves.assign(step=np.tile([1, 2, 3], len(runs)), learning_rate=0.1)
    scatter, rates = figures.capacity_loss(runs), figures.capacity_rates(curves, runs)
    for axes in (*figure.axes, *scatter.axes):
        assert axes.get_ylabel()
        assert axes.get_xlabel() or axes.get_subplotspec().rowspan.stop < 3
    assert rates.axes[0].get_ylabel()
    assert all(axes.get_xlabel() for axes in rates.axes[: len(runs)])
    assert rates.axes[-1].get_ylabel() == "final training loss"
