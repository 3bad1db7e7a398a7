"""Batch loss against full-batch loss: the loss of every example is measured, and strategies are judged right."""

import math

import numpy as np
import pytest
import torch
from doubles import after, loss_of, trainer_in_double
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.results.tables.fullbatch import PUBLISHED, judged
from experiments.studies import fullbatch
from experiments.studies.fullbatch import Measure, Settings, measured_line, on_grid, plan
from experiments.training.full_batch import MeanLoss
from pal.line import Line

DISTANCE = np.linspace(-1, 1, 41)
MEASURE = Measure(every=10, reach=0.4, spacing=0.1, mu=0.1)


def test_the_full_batch_loss_is_that_of_every_example_with_the_l2_term():
    trainer = trainer_in_double()
    epoch, params = trainer.first_epoch, list(trainer.model.parameters())
    assert sum(len(y) for _, y in epoch) == 256
    found = measured_line(trainer, MEASURE)
    gradient = torch.autograd.grad(trainer.loss_fn(), params)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))
    full = torch.autograd.grad(loss_of(trainer, epoch), params)
    slope = -sum(float((a * b).sum()) for a, b in zip(full, gradient, strict=True)) / norm
    assert found["norm"] == pytest.approx(norm, rel=1e-9)
    assert found["full_loss0"] == pytest.approx(loss_of(trainer, epoch).item(), rel=1e-9)
    assert found["full_slope"] == pytest.approx(slope, rel=1e-6)
    assert found["batch_slope"] == pytest.approx(-norm, rel=1e-9)
    with torch.no_grad():
        for param, g in zip(params, gradient, strict=True):
            param.sub_(0.3 * g / norm)
    place = int(np.argmin(np.abs(np.asarray(found["distance"]) - 0.3)))
    assert found["full"][place] == pytest.approx(loss_of(trainer, epoch).item(), rel=1e-6)


def test_the_direction_of_momentum_is_that_of_the_coming_update():
    fields = {"problem": "digits-mlp", "optimizer": "sgd-plain", "settings": {"lr": 0.1, "momentum": 0.9}}
    trainer = after(3, l2=0.0, **fields)
    params = list(trainer.model.parameters())
    gradients = list(torch.autograd.grad(trainer.loss_fn(), params))
    direction = fullbatch.update(trainer, params, gradients)
    before = [param.detach().clone() for param in params]
    trainer.advance()
    for param, old, d in zip(params, before, direction, strict=True):
        torch.testing.assert_close(param.detach() - old, 0.1 * d, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("minimum", "reach"), [(0.35, 0.4), (1.05, 1.2), (-0.7, 0.8), (50.0, 2.4)])
def test_the_interval_grows_until_the_minimum_is_inside_or_five_times(minimum, reach):
    theta = torch.zeros(1, dtype=torch.float64)
    line = Line([theta], [torch.ones(1, dtype=torch.float64)])
    grid = on_grid(line, [lambda: (theta - minimum).square().sum()] * 2, MEASURE, farthest=0.0)
    assert max(map(abs, grid["distance"])) == pytest.approx(reach)
    assert np.allclose(np.diff(grid["distance"]), 0.1)
    assert grid["full"] == pytest.approx([(distance - minimum) ** 2 for distance in grid["distance"]])
    assert theta == 0


def test_strategies_on_parabolas_have_known_answers():
    """Batch loss (s - 0.5)^2, full-batch loss (s - 0.2)^2 + 1, direction of length 2."""
    batch, full = (DISTANCE - 0.5) ** 2, (DISTANCE - 0.2) ** 2 + 1
    line = {"distance": DISTANCE, "batch": batch, "full": full, "norm": 2.0}
    line |= {"batch_loss0": 0.25, "batch_loss_mu": 0.16, "batch_slope": -1.0}
    line |= {"full_loss0": 1.04, "full_loss_mu": 1.01, "full_slope": -0.4}
    rows = {row["strategy"]: row for row in judged(line, mu=0.1)}
    steps = {"optimum": 0.2, "pal-full": 0.2, "sgd-0.05": 0.1, "pal": 0.5, "exact": 0.5, "sgd-0.1": 0.2}
    assert list(rows) == list(PUBLISHED)
    for name, step in steps.items():
        assert rows[name]["step"] == pytest.approx(step, abs=1e-9)
        assert rows[name]["distance"] == pytest.approx(0.2 - step, abs=1e-9)
        assert rows[name]["improvement"] == pytest.approx(0.04 - (step - 0.2) ** 2, abs=1e-9)
        assert rows[name]["inside"] == 1


def test_a_step_out_of_the_interval_is_cut_and_marked():
    curve = (DISTANCE - 0.5) ** 2
    line = {"distance": DISTANCE, "batch": curve, "full": curve, "norm": 100.0}
    for name in ("batch", "full"):
        line |= {f"{name}_loss0": 0.25, f"{name}_loss_mu": 0.16, f"{name}_slope": -1.0}
    rows = {row["strategy"]: row for row in judged(line, mu=0.1)}
    assert (rows["sgd-0.05"]["step"], rows["sgd-0.05"]["inside"]) == (1.0, 0)


def test_every_evaluation_of_the_full_batch_sees_the_same_dropout_masks():
    x = torch.ones(8, 50)
    loss = MeanLoss(lambda x, y: functional.dropout(x, 0.5).sum(), [(x, x), (x, x)], [], 0.0)
    first = loss()
    torch.rand(3)
    assert torch.equal(loss(), first)


def test_an_epoch_without_a_whole_number_of_batches_is_one_sentence():
    fields = {"problems": ["digits-mlp"], "train_size": 200, "seeds": [0], "momenta": [0.0], "lr": 0.1}
    with pytest.raises(UserError, match=r"200 training examples.*multiple of the batch size, 128"):
        plan(Settings(measure=MEASURE, **fields))
