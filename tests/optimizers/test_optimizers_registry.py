"""Optimizers by name: names, settings, schedules, and what a step reports."""

import importlib
import inspect
import math

import pytest
import torch

from experiments import optimizers
from experiments.common.errors import UserError
from experiments.optimizers import OPTIMIZERS
from experiments.optimizers.registry import BEYOND, PAPER

SCHEDULED = [name for name in list(OPTIMIZERS) if OPTIMIZERS[name].rate is not None]
OURS = [name for name, entry in (PAPER | BEYOND).items() if entry.target.startswith("pal.")]


def constructor(name: str) -> dict[str, inspect.Parameter]:
    module, _, attribute = OPTIMIZERS[name].target.partition(":")
    return dict(inspect.signature(getattr(importlib.import_module(module), attribute)).parameters)


def weight() -> torch.Tensor:
    return torch.full((3,), 2.0, requires_grad=True)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_the_defaults_are_accepted_and_take_a_step(name):
    theta = weight()
    method = optimizers.build(name, [theta], {})
    start = method.step(lambda: theta.square().sum())
    assert (start.item(), start.requires_grad) == (12.0, False)
    optimizers.check(name, {})


@pytest.mark.parametrize("name", [name for name in OURS if name != "lbfgs"])
def test_every_setting_of_our_optimizers_is_in_the_register_with_its_default(name):
    entry, known = OPTIMIZERS[name], constructor(name)
    for setting, default in entry.settings.items():
        if known[setting].default is not inspect.Parameter.empty:
            assert default == known[setting].default
    if name != "pal":  # its further arguments are no settings of the paper
        assert set(entry.settings) == set(known) - {"params"}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_unknown_settings_are_named_with_the_nearest_known(name):
    known = next(iter(OPTIMIZERS[name].settings))
    with pytest.raises(UserError, match=f"optimizer '{name}' has no setting '{known}x'.*{known}"):
        optimizers.resolve(name, {f"{known}x": 1.0})


BAD = {
    "pal": ("mu", -1.0, "mu must be a finite number > 0, got -1.0"),
    "sls": ("c", 1.0, "c must be a number > 0 and < 1, got 1.0"),
    "alig": ("max_lr", 0.0, "max_lr must be a number > 0, or infinity, got 0.0"),
    "sgdhd": ("hypergrad_lr", -1e-3, "hypergrad_lr must be a finite number >= 0, got -0.001"),
    "cocob": ("alpha", 0.0, "alpha must be a finite number > 0, got 0.0"),
    "exact": ("s_max", math.nan, "s_max must be a number > 0, or infinity, got nan"),
    "labpal": ("mode", "adam", "mode must be 'nsgd' or 'sgd', got 'adam'"),
    "qlabgrad": ("lr", 0.0, "lr must be a finite number > 0, got 0.0"),
    "ponos": ("xi", 1.5, "xi must be a number >= 0 and <= 1, got 1.5"),
    "sps": ("gamma", 0.5, "gamma must be a finite number >= 1, got 0.5"),
    "decsps": ("max_step_size", math.inf, "max_step_size must be a finite number > 0, got inf"),
    "momo": ("beta", 1.0, "beta must be a number >= 0 and < 1, got 1.0"),
    "rmsprop-tf": ("alpha", 1.0, "alpha must be a number >= 0 and < 1, got 1.0"),
    "sgd": ("lr", -1.0, "Invalid learning rate: -1.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_setting_out_of_range_is_one_sentence_that_names_the_optimizer(name):
    setting, value, sentence = BAD[name]
    with pytest.raises(UserError) as error:
        optimizers.check(name, {setting: value})
    assert str(error.value) == f"optimizer {name!r}: {sentence}"


def test_unknown_names_bring_the_nearest():
    with pytest.raises(UserError, match=r"there is no optimizer 'adm'.*adam"):
        optimizers.build("adm", [weight()], {})
    with pytest.raises(UserError, match=r"there is no schedule 'cosin'.*cosine"):
        optimizers.build("sgd", [weight()], {}, "cosin")


@pytest.mark.parametrize("name", [name for name in list(OPTIMIZERS) if name not in SCHEDULED])
def test_a_schedule_needs_a_learning_rate(name):
    with pytest.raises(
        UserError, match=f"'{name}' has no learning rate; schedule must be 'none', not 'step'"
    ):
        optimizers.check(name, {}, "step")


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules_multiply_the_learning_rate(name):
    theta = weight()
    lr = OPTIMIZERS[name].settings["lr"]
    expected = {
        "none": [1.0] * 8,
        "step": [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01],
        "cosine": [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)],
    }
    for schedule, factors in expected.items():
        method = optimizers.build(name, [theta], {}, schedule, steps=8)
        rates = []
        for _ in factors:
            rates.append(method.optimizer.param_groups[0]["lr"])
            method.step(lambda: theta.square().sum())
        assert rates == pytest.approx([lr * factor for factor in factors])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_schedule_goes_on_where_it_was(name):
    theta = weight()
    method = optimizers.build(name, [theta], {}, "cosine", steps=8)
    for _ in range(3):
        method.step(lambda: theta.square().sum())
    again = optimizers.build(name, [theta], {}, "cosine", steps=8)
    again.load_state_dict(method.state_dict())
    rates = []
    for one in (method, again):
        one.step(lambda: theta.square().sum())
        rates.append(one.optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[1]


def test_the_learning_rate_reported_is_the_one_that_was_used():
    theta = weight()
    sgd = optimizers.build("sgd", [theta], {"lr": 0.5, "momentum": 0.5}, "cosine", steps=2)
    sgd.step(lambda: theta.sum())
    assert sgd.learning_rate == 0.5  # and half of it in the next step
    assert torch.allclose(
        theta, torch.tensor(2.0 - 1.5 * 0.5)
    )  # the gradient once, and once more by momentum
    line = optimizers.build("exact", [theta], {})
    line.step(lambda: theta.square().sum())
    assert line.learning_rate.item() == pytest.approx(0.5)
    prodigy = optimizers.build("prodigy", [theta], {})
    for _ in range(3):
        prodigy.step(lambda: (theta - 1).square().sum())
    group = prodigy.optimizer.param_groups[0]
    assert prodigy.learning_rate == group["lr"] * group["d"] != group["lr"]
    cocob = optimizers.build("cocob", [theta], {})
    cocob.step(lambda: theta.square().sum())
    assert math.isnan(cocob.learning_rate)


def test_only_schedule_free_optimizers_tell_training_from_evaluation():
    for name in ("schedulefree-sgd", "schedulefree-adamw", "sgd"):
        theta = weight()
        method = optimizers.build(name, [theta], {"lr": 0.1})
        for _ in range(5):
            method.step(lambda theta=theta: theta.square().sum())
        training = theta.detach().clone()
        method.eval()
        assert torch.equal(theta, training) == (name == "sgd")
        method.train()
        torch.testing.assert_close(theta.detach(), training)


def test_whole_numbers_written_for_settings_are_the_same_setting():
    assert optimizers.resolve("sls", {"init_step_size": 1, "max_step_size": 10}) == optimizers.resolve(
        "sls", {"init_step_size": 1.0, "max_step_size": 10.0}
    )
    assert type(optimizers.resolve("labpal", {"reuse": 5})["reuse"]) is int


def test_the_ablations_are_settings():
    capped = weight()
    optimizers.build("sls", [capped], {"init_step_size": 40, "max_step_size": 10}).step(
        lambda: capped.sum() * 1e-3
    )
    assert torch.allclose(capped, torch.full((3,), 2.0 - 10 * 1e-3))
    for numerator, rate in ((None, 12.0 / 48.0), (1.0, 1.0 / 48.0)):
        theta = weight()
        method = optimizers.build("alig", [theta], {"numerator": numerator})
        method.step(lambda theta=theta: theta.square().sum())
        assert method.learning_rate.item() == pytest.approx(rate, rel=1e-5)
