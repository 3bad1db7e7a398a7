"""Batch loss against full-batch loss: the loss of every example is measured, and strategies are judged right."""

import math

import numpy as np
import pytest
import torch
from small_runs import short
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.results.tables.fullbatch import PUBLISHED, judged
from experiments.studies import fullbatch
from experiments.studies.fullbatch import Measure, Settings, measured_line, on_grid, plan
from experiments.training.full_batch import MeanLoss
from experiments.training.trainer import Trainer
from pal.line import Line

MEASURE = Measure(every=10, reach=0.4, spacing=0.1, mu=0.1)


def trainer_in_double(l2=0.0):
    trainer = Trainer(short(problem="digits-mlp", optimizer="sgd-plain", settings={"lr": 0.1}, l2=l2))
    trainer.draw()
    trainer.model.double()
    x, y = trainer._batch
    trainer._batch = x.double(), y
    epoch = [trainer.loader.batch(number) for number in range(trainer.loader.steps_per_epoch)]
    return trainer, [(x.double(), y) for x, y in epoch]


def test_the_full_batch_loss_is_that_of_every_example_with_the_l2_term():
    trainer, epoch = trainer_in_double(l2=1e-3)
    found = measured_line(trainer, epoch, MEASURE)
    model, params = trainer.model, list(trainer.model.parameters())
    examples, targets = torch.cat([x for x, _ in epoch]), torch.cat([y for _, y in epoch])
    assert len(targets) == 256

    def loss():
        squares = sum(param.square().sum() for param in params)
        return functional.cross_entropy(model(examples), targets) + 1e-3 / 2 * squares

    gradient = torch.autograd.grad(trainer.loss_fn(), params)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))
    slope = (
        -sum(float((a * b).sum()) for a, b in zip(torch.autograd.grad(loss(), params), gradient, strict=True))
        / norm
    )
    assert found["norm"] == pytest.approx(norm, rel=1e-9)
    assert found["full_loss0"] == pytest.approx(loss().item(), rel=1e-9)
    assert found["full_slope"] == pytest.approx(slope, rel=1e-6)
    assert found["batch_slope"] == pytest.approx(-norm, rel=1e-9)
    with torch.no_grad():
        for param, g in zip(params, gradient, strict=True):
            param.sub_(0.3 * g / norm)
    place = int(np.argmin(np.abs(np.asarray(found["distance"]) - 0.3)))
    assert found["full"][place] == pytest.approx(loss().item(), rel=1e-6)


def test_the_direction_of_momentum_is_that_of_the_coming_update():
    config = short(problem="digits-mlp", optimizer="sgd-plain", settings={"lr": 0.1, "momentum": 0.9}, l2=0.0)
    trainer = Trainer(config)
    for _ in range(3):
        trainer.draw()
        trainer.advance()
    trainer.draw()
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
    distance = np.linspace(-1, 1, 41)
    batch, full = (distance - 0.5) ** 2, (distance - 0.2) ** 2 + 1
    line = {"distance": distance, "batch": batch, "full": full, "norm": 2.0}
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
    distance = np.linspace(-1, 1, 41)
    curve = (distance - 0.5) ** 2
    line = {"distance": distance, "batch": curve, "full": curve, "norm": 100.0}
    line |= {
        f"{name}_{key}": value
        for name in ("batch", "full")
        for key, value in (("loss0", 0.25), ("loss_mu", 0.16), ("slope", -1.0))
    }
    rows = {row["strategy"]: row for row in judged(line, mu=0.1)}
    assert (rows["sgd-0.05"]["step"], rows["sgd-0.05"]["inside"]) == (1.0, 0)


def test_every_evaluation_of_the_full_batch_sees_the_same_dropout_masks():
    x = torch.ones(8, 50)
    loss = MeanLoss(lambda x, y: functional.dropout(x, 0.5).sum(), [(x, x), (x, x)], [], 0.0)
    first = loss()
    torch.rand(3)
    assert torch.equal(loss(), first)


def test_an_epoch_without_a_whole_number_of_batches_is_one_sentence():
    settings = Settings(
        problems=["digits-mlp"], train_size=200, seeds=[0], momenta=[0.0], lr=0.1, measure=MEASURE
    )
    with pytest.raises(UserError, match=r"200 training examples.*multiple of the batch size, 128"):
        plan(settings)
