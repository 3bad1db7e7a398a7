"""Studies that look at lines: what they measure is true, and looking changes nothing."""

import math

import numpy as np
import pytest
import torch
from doubles import after, everything, trainer_in_double
from small_runs import Interrupted, Memory, same_arrays, short
from torch import nn

from experiments.studies.base import evenly_spaced, get_study
from experiments.studies.lines import first_minimum, measured_line, neighbourhood
from experiments.training.batch_line import batch_line
from experiments.training.loop import train
from experiments.training.trainer import Trainer
from pal.search import search

FIELDS = {
    "fullbatch": {
        "optimizer": "sgd-plain",
        "settings": {"lr": 0.1, "momentum": 0.9},
        "measure": {"every": 10, "reach": 0.4, "spacing": 0.2, "mu": 0.1},
    },
    "adaptation": {
        "settings": {"mu": 0.1, "alpha": 1.25, "beta": 0.0},
        "measure": {"every": 10, "alphas": [1.0, 1.25, 2.5]},
    },
    "batchsize": {
        "optimizer": "sgd-plain",
        "settings": {"lr": 0.1},
        "measure": {"every": 10, "sizes": [8, 256], "mu": 0.1},
    },
    "capacity": {"settings": {"mu": 0.1}, "measure": {"last": 14, "every": 5}},
    "lines": {"settings": {"mu": 0.1}, "measure": {"first": 2, "even": 3, "points": 11}},
}


def study_run(study):
    return short(study, **FIELDS[study])


def executed(config, record=None):
    record = record or Memory()
    return get_study(config.study).run(config, record), record


@pytest.mark.parametrize("optimizer", ["pal", "sgd"])
def test_measuring_a_line_changes_no_bit(optimizer):
    trainer = after(3, optimizer=optimizer)
    before = everything(trainer)
    with batch_line(trainer) as line:
        line.losses([0.1, -0.2, 3.0])
        line.angle(0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(trainer), strict=True))


@pytest.mark.parametrize("study", FIELDS)
def test_a_measured_training_goes_the_way_of_one_that_is_left_alone(study):
    config = study_run(study)
    _, measured = executed(config)
    alone = Memory()
    train(config, alone)
    more = set(measured.arrays) - set(alone.arrays)
    assert more
    assert all(name.startswith("lines/") for name in more)
    kept = {name: values for name, values in measured.arrays.items() if name not in more}
    assert same_arrays(kept, alone.arrays)


@pytest.mark.parametrize(("name", "step"), [("advance", 13), ("final_scores", 24)])
@pytest.mark.parametrize("study", FIELDS)
def test_a_study_interrupted_in_the_middle_or_after_its_last_step_has_the_same_lines(
    study, name, step, monkeypatch
):
    config = study_run(study)
    result, whole = executed(config)
    act = getattr(Trainer, name)

    def interrupted(trainer):
        if trainer.step == step:
            raise Interrupted
        return act(trainer)

    first = Memory(checkpoint_seconds=0.0)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Trainer, name, interrupted)
        executed(config, first)
    assert first.checkpoint["step"] == step
    again, second = executed(config, Memory(first.checkpoint))
    assert again == result
    assert same_arrays(second.arrays, whole.arrays)


def test_slope_and_curvature_are_those_of_autograd_in_float64():
    trainer = trainer_in_double(l2=0.0)
    for name, module in trainer.model.named_children():
        if isinstance(module, nn.ReLU):
            setattr(trainer.model, name, nn.Tanh())  # differences across the kinks of ReLU are no derivatives
    params = list(trainer.model.parameters())
    gradient = torch.autograd.grad(trainer.loss_fn(), params, create_graph=True)
    norm = math.sqrt(sum(float(g.detach().square().sum()) for g in gradient))
    product = sum((g * g.detach()).sum() for g in gradient)
    hessian_vector = torch.autograd.grad(product, params)
    products = [(h * g.detach()).sum() for h, g in zip(hessian_vector, gradient, strict=True)]
    curvature = float(sum(products)) / norm**2
    h = 1e-4
    with batch_line(trainer) as line:
        behind, here, ahead = line.losses([-h, 0.0, h])
    assert math.isclose(line.slope, -norm, rel_tol=1e-9)
    assert math.isclose((ahead - behind) / (2 * h), -norm, rel_tol=1e-6)
    assert math.isclose((behind - 2 * here + ahead) / h**2, curvature, rel_tol=1e-5)
    assert here == line.loss0


def test_the_slope_in_float32_agrees_with_float64():
    single = after(0, problem="digits-mlp", l2=1e-3)
    with batch_line(single) as line, batch_line(trainer_in_double()) as exact:
        assert math.isclose(line.slope, exact.slope, rel_tol=1e-6)


def test_the_angle_is_0_at_the_start_and_90_degrees_at_the_minimum():
    with batch_line(trainer_in_double(l2=0.0)) as line:
        found = search(lambda distance: line.losses([distance])[0], line.loss0, line.slope)
        assert line.angle(0.0) == pytest.approx(0, abs=1e-3)
        assert line.angle(found.distance) == pytest.approx(90, abs=0.1)
        assert line.angle(found.distance / 2) < 89 < 91 < line.angle(found.distance * 1.5)


def test_adaptation_notes_steps_that_the_training_takes():
    config = study_run("adaptation")
    _, record = executed(config)
    lines = {name.removeprefix("lines/"): values for name, values in record.arrays.items()}
    assert lines["at"].tolist() == [0, 10, 20]
    assert np.allclose(lines["step"][[1]], record.arrays["step"][[10]], rtol=1e-4)
    assert (lines["loss_exact"] <= lines["loss0"]).all()
    assert (lines["loss_exact"] <= lines["loss_step"] + 1e-6).all()
    assert np.array_equal(lines["alpha"], [[1.0, 1.25, 2.5]] * 3)
    own = lines["alpha_step"][:, 1], lines["alpha_loss"][:, 1], lines["alpha_angle"][:, 1]
    assert all(map(np.allclose, own, (lines["step"], lines["loss_step"], lines["angle"])))
    normal = (lines["case"] == 0) & (lines["alpha_step"][:, 2] < 3.16)
    assert normal.any()
    assert np.allclose(lines["alpha_step"][normal, 2], 2.5 * lines["alpha_step"][normal, 0])


def test_lines_are_the_first_ones_and_evenly_spaced_ones():
    _, record = executed(study_run("lines"))
    at = record.arrays["lines/at"]
    assert at.tolist() == [0, 1, 4, 12, 20]
    assert record.arrays["lines/even"].tolist() == [0, 0, 1, 1, 1]
    assert evenly_spaced(10, 5) == set(range(5))


def test_the_minimum_of_a_line_is_that_of_a_dense_grid():
    trainer = trainer_in_double(l2=0.0)
    settings = {"mu": 0.1, "alpha": 1.0, "s_max": 3.16}
    trainer.config = trainer.config.model_copy(update={"settings": settings})
    found = measured_line(trainer, 21)
    with batch_line(trainer) as line:
        grid = np.linspace(0, 2 * found["exact"], 4001)
        losses = np.array(line.losses(grid.tolist()))
    lowest = int(losses.argmin())
    assert found["exact"] == pytest.approx(grid[lowest], rel=1e-3)
    assert found["loss_exact"] == pytest.approx(losses[lowest], rel=1e-9)
    assert found["near_distance"][-1] == pytest.approx(2 * found["exact"])
    assert found["near_loss"] == pytest.approx(np.interp(found["near_distance"], grid, losses), rel=1e-5)


def test_the_neighbourhood_ends_at_twice_the_nearer_minimum():
    def two_minima(distances):
        return [min((s - 1) ** 2, (s - 4) ** 2 - 1) for s in distances]

    assert neighbourhood(two_minima, 4.0, 41)[-1] == pytest.approx(2.0)
    assert neighbourhood(lambda distances: [(s - 4) ** 2 for s in distances], 4.0, 41)[-1] == 8.0
    assert np.isnan(neighbourhood(two_minima, 0.0, 5)).all()
    assert first_minimum(np.array([3.0, 2.0, 1.0, 1.0 + 1e-9, 1.0])) is None
