"""Defects of the published implementations, each with a test that ours has not got it."""

import inspect
import itertools
import random
import time

import pytest
import torch
from torch import nn
from torch.nn import functional

from pal import PAL
from pal.check import ClosureWarning
from pal.parabola import Case


def two_groups():
    first, second = (torch.full((3,), value, requires_grad=True) for value in (0.5, 1.0))
    return first, second, PAL([{"params": [first]}, {"params": [second]}])


def test_only_the_first_parameter_group_moves():
    first, second, optimizer = two_groups()
    optimizer.step(lambda: first.square().sum() + second.square().sum())
    assert first.norm() < 1e-2
    assert second.norm() < 1e-2


@pytest.mark.parametrize("where", ["loss", "probe", "gradient"])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_nan_leaves_the_weights_at_the_probe(where, beta):
    weights = torch.tensor([1.0, -0.0, 3e-39, -2.5], requires_grad=True)
    optimizer = PAL([weights], beta=beta)
    optimizer.step(lambda: weights.square().sum())
    before = weights.detach().clone().view(torch.int32)
    evaluations = itertools.count()

    def closure():
        probing = next(evaluations) == 1
        loss = weights.square().sum()
        if where == "loss" or (where == "probe" and probing):
            return loss * torch.nan
        return loss + (
            weights.clamp(min=9).sum() * 0 + (weights * 0).sqrt().sum() if where == "gradient" else 0
        )

    optimizer.step(closure)
    assert optimizer.line.case == Case.NONFINITE
    assert torch.equal(weights.detach().view(torch.int32), before)
    assert optimizer.line.step == 0
    assert optimizer.cases[Case.NONFINITE] == 1
    optimizer.step(lambda: (weights - 1).square().sum())
    assert optimizer.line.case == Case.PARABOLA, "training goes on"


def test_whole_second_seeding_gives_all_steps_of_a_second_the_same_mask(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1.0)
    masks, weight = [], torch.ones((), requires_grad=True)

    def closure():
        masks.append(functional.dropout(torch.ones(100)))
        return (weight * masks[-1]).sum()

    optimizer = PAL([weight])
    for _ in range(2):
        optimizer.step(closure)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])


def test_other_random_generators_are_reseeded():
    state = random.getstate()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    weight = torch.ones((), requires_grad=True)
    PAL([weight]).step(lambda: weight.square())
    assert random.getstate() == state
    assert torch.equal(torch.rand(3), expected)


def test_cuda_is_touched_on_a_machine_without(monkeypatch):
    def fail(*_):
        raise AssertionError("CUDA was touched")

    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, fail)
    weight = torch.ones((), requires_grad=True)
    PAL([weight]).step(lambda: functional.dropout(weight).square())


@pytest.mark.parametrize("settings", [{"beta": 0.4}, {"weight_decay": 0.1}, {"maximize": True}])
def test_the_gradient_is_overwritten_with_the_direction(settings):
    weights = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = PAL([weights], s_max=0.1, **settings)
    for _ in range(3):
        expected = 2 * weights.detach()
        optimizer.step(lambda: weights.square().sum())
        assert torch.equal(weights.grad, expected)


def test_the_second_move_starts_at_the_probe_and_drifts():
    ours = torch.linspace(1.0, 2.0, 7).requires_grad_()
    start = ours.detach().clone()
    PAL([ours], mu=1e6, s_max=1e9).step(lambda: 1e-9 * (ours - 5).square().sum())  # far probes cost digits
    torch.testing.assert_close(ours.detach(), start + (5 - start), rtol=1e-4, atol=0)
    ascending = torch.linspace(1.0, 2.0, 7).requires_grad_()
    PAL([ascending], mu=1e6).step(lambda: (ascending * 0).sum() + 3)
    assert torch.equal(ascending.detach(), start), "step 0 means not a bit of change"


def test_batch_norm_statistics_are_updated_twice():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = PAL(model.parameters())
    x = torch.randn(8, 2)
    for _ in range(3):
        optimizer.step(lambda: (model(x) - 1).square().mean())
    assert model[1].num_batches_tracked == 3


def test_measuring_a_line_is_not_free_of_side_effects():
    from pal.line import Line

    model = nn.Sequential(nn.Linear(2, 3))
    before = [param.detach().clone() for param in model.parameters()]
    line = Line(model.parameters(), [torch.randn_like(param) for param in model.parameters()])
    line.losses(lambda: model(torch.ones(1, 2)).sum(), [index * 0.1 for index in range(-10, 20)])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_defaults_differ_from_the_recommended_ones():
    defaults = {name: p.default for name, p in inspect.signature(PAL).parameters.items()}
    assert (defaults["mu"], defaults["alpha"], defaults["beta"], defaults["s_max"]) == (0.1, 1.0, 0.0, 3.16)


def test_stale_loss_disables_the_search_silently():
    weights = torch.ones(2, requires_grad=True)
    loss = weights.square().sum()
    with pytest.warns(ClosureWarning, match="was computed outside the closure"):
        PAL([weights]).step(lambda: loss)


def test_stale_loss_is_not_seen_in_a_parabola_with_its_minimum_half_way():
    weight = torch.tensor(0.5, requires_grad=True)
    PAL([weight], mu=1.0).step(lambda: weight.square())
    assert weight == 0


def test_closure_that_fails_at_the_probe_leaves_the_weights_there():
    weights = torch.tensor([1.0, -0.0], requires_grad=True)
    evaluations = itertools.count()

    def closure():
        if next(evaluations):
            raise KeyError("data")
        return weights.square().sum()

    optimizer = PAL([weights])
    with pytest.raises(KeyError):
        optimizer.step(closure)
    assert weights.tolist() == [1.0, -0.0]
    optimizer.step(lambda: weights.square().sum())
    assert weights.norm() < 1e-2
