"""Batch sizes and capacities: losses of every example, minima and steps on the lines of fresh batches."""

import pytest
import torch
from doubles import after, loss_of, trainer_in_double
from small_runs import Memory, short

from experiments.common.errors import UserError
from experiments.studies import batchsize, capacity
from experiments.studies.base import get_study
from experiments.training.full_batch import mean_loss, minimum

SETTINGS = {"problems": ["digits-mlp"], "seeds": [0], "train_size": 256, "lr": 0.1}
MEASURE = {"every": 10, "sizes": [8, 64], "mu": 0.1}


def test_loss_gradient_and_slope_are_those_of_all_examples_at_once():
    trainer = trainer_in_double()
    epoch = trainer.first_epoch
    full, params = mean_loss(trainer, epoch), list(trainer.model.parameters())
    loss = loss_of(trainer, epoch)
    gradient = torch.autograd.grad(loss, params)
    assert full().item() == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(full.gradient(), gradient, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    direction = [torch.ones_like(param) for param in params]
    slope = sum(float(g.sum()) for g in gradient) / 10
    assert full.slope(direction, 10.0) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(("at", "loss0", "slope"), [(0.7, 0.49, -1.4), (-0.7, 0.49, 1.4), (0.0, 0.0, 0.0)])
def test_a_minimum_may_lie_on_either_side(at, loss0, slope):
    found = minimum(lambda distance: (distance - at) ** 2, loss0, slope, mu=0.1)
    assert found.distance == pytest.approx(at, abs=1e-6)
    assert found.loss == pytest.approx(0, abs=1e-9)


def test_steps_and_improvements_are_those_of_weights_that_were_moved_there():
    trainer = trainer_in_double()
    epoch = trainer.first_epoch
    x, y = batchsize.loader(trainer, 16).batch(3)
    batch = [(x.double(), y)]
    found = batchsize.measured_lines(trainer, batch, mu=0.1)
    params = list(trainer.model.parameters())
    gradient = torch.autograd.grad(loss_of(trainer, batch), params)
    norm = torch.cat([g.ravel() for g in gradient]).norm().item()
    before, start = loss_of(trainer, epoch).item(), [param.detach().clone() for param in params]

    def losses_at(step):
        with torch.no_grad():
            for param, origin, g in zip(params, start, gradient, strict=True):
                param.copy_(origin - step * g / norm)
            return loss_of(trainer, epoch).item(), loss_of(trainer, batch).item()

    assert found["size"] == [16]
    assert found["norm"][0] == pytest.approx(norm, rel=1e-6)
    assert found["sgd-0.1_step"][0] == pytest.approx(0.1 * norm, rel=1e-6)
    for name in ("optimum", "sgd-0.05", "pal", "exact", "sgd-0.1"):
        step, improvement = found[f"{name}_step"][0], found[f"{name}_improvement"][0]
        assert before - losses_at(step)[0] == pytest.approx(improvement, rel=1e-5, abs=1e-9)
    for name, which in (("optimum", 0), ("exact", 1)):
        step = found[f"{name}_step"][0]
        nearby = [losses_at(factor * step)[which] for factor in (0.95, 1.0, 1.05)]
        assert nearby[1] == min(nearby)


def test_batches_of_a_size_are_the_same_again_and_not_those_of_the_training():
    trainer = after(0, optimizer="sgd-plain", settings={"lr": 0.1})
    first, again = (batchsize.loader(trainer, 128).batch(5) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert len(first[1]) == 128
    assert not torch.equal(first[0], trainer.loader.batch(5)[0])


def test_only_late_lines_are_searched_and_weights_are_counted():
    record = Memory()
    config = short("capacity", problem="digits-mlp", measure={"last": 12, "every": 5})
    result = get_study("capacity").run(config, record)
    assert record.arrays["lines/at"].tolist() == [12, 17, 22]
    steps = record.arrays["step"][[12, 17, 22]]
    assert record.arrays["lines/step"] == pytest.approx(steps, rel=1e-4)
    assert (record.arrays["lines/full_loss"] <= record.arrays["lines/full_loss0"]).all()
    assert result["weights"] == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_size": 200}, r"200 training examples.*multiple of the batch size, 128"),
        ({"measure": MEASURE | {"sizes": [8, 512]}}, r"measure\.sizes has 512.*256 training examples"),
    ],
    ids=["not a multiple", "too large"],
)
def test_sizes_that_do_not_fit_are_one_sentence(changes, words):
    settings = batchsize.Settings.model_validate(SETTINGS | {"measure": MEASURE} | changes)
    with pytest.raises(UserError, match=words):
        batchsize.plan(settings)


def test_every_network_is_trained_on_every_number_of_images():
    fields = {"problems": ["digits-hidden-2", "digits-hidden-8"], "train_sizes": [64, 128], "seeds": [0, 1]}
    fields |= {"batch_size": 32, "measure": {"last": 10, "every": 5}}
    settings = capacity.Settings.model_validate(fields)
    configs = capacity.plan(settings)
    assert len({(config.problem, config.train_size, config.seed) for config in configs}) == 8
    assert all(config.settings["beta"] == 0 and config.batch_size == 32 for config in configs)
    wrong = settings.model_copy(update={"train_sizes": [70]})
    with pytest.raises(UserError, match="70 training examples"):
        capacity.plan(wrong)
