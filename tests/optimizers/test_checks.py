"""What `check optimizer` finds, and what a study refuses to start with."""

import pytest
import torch
from torch import nn

from experiments.common.errors import UserError
from experiments.optimizers import OPTIMIZERS, OptimizerSpec, build
from experiments.optimizers.checks import check_all, require_resumable


class Forgetful(torch.optim.SGD):
    """Momentum in a place that no checkpoint knows."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        mean = {}
        self.remember = lambda p: mean.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad)

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(self.remember(p), alpha=self.param_groups[0]["lr"])


class Twice(torch.optim.SGD):
    """Evaluates the closure twice."""

    @torch.no_grad()
    def step(self, closure):
        loss = closure()
        with torch.enable_grad():
            closure().backward()
        super().step()
        return loss


class Noisy(torch.optim.SGD):
    """Draws from a generator that no seed reaches."""

    generator = torch.Generator()

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            p.add_(0.01 * torch.randn(p.shape, generator=Noisy.generator))


class Fussy(torch.optim.SGD):
    """Takes no step with a large rate."""

    @torch.no_grad()
    def step(self, closure=None):
        if self.param_groups[0]["lr"] > 1:
            raise RuntimeError("the step would be too long")
        super().step()


def small():
    return nn.Linear(2, 2)


SPECS = {
    "fussy": OptimizerSpec(Fussy, "none", {"lr": 0.1}),
    "forgetful": OptimizerSpec(Forgetful, "none", {"lr": 0.1}),
    "twice": OptimizerSpec(Twice, "forward", {"lr": 0.1}),
    "noisy": OptimizerSpec(Noisy, "none", {"lr": 0.1}),
    "in-turn": OptimizerSpec("torch.optim:LBFGS", "backward", {"lr": 0.1, "max_iter": 3}),
    "named": OptimizerSpec(
        "torch.optim:SGD", "none", {"lr": 0.1}, params=lambda model: list(model.named_parameters())
    ),
    "scheduled": OptimizerSpec("torch.optim:ASGD", "none", {"lr": 0.1}, steps="t0"),
    "tuple": OptimizerSpec("torch.optim:Adam", "none", {"lr": 0.1, "betas": (0.9, 0.99)}),
}


@pytest.fixture(autouse=True)
def own(monkeypatch):
    for name, spec in SPECS.items():
        monkeypatch.setitem(OPTIMIZERS, name, spec)


def failed(name):
    return {check.what: check.words for check in check_all(name, {}) if not check.passed}


@pytest.mark.parametrize("name", ["pal", "sgd", "sls", "in-turn", "named", "scheduled", "tuple"])
def test_a_sound_optimizer_passes_all_checks(name):
    assert failed(name) == {}


def test_lost_state_other_draws_and_foreign_randomness_are_found():
    assert "does not hold its attributes remember" in failed("forgetful")["resume"]
    assert "different dropout masks" in failed("twice")["repeat"]
    assert "two trainings with the same seed differ" in failed("noisy")["repeat"]


def test_a_study_refuses_an_optimizer_that_would_continue_differently():
    with pytest.raises(
        UserError, match="optimizer 'forgetful': continued from a checkpoint, it takes other steps"
    ):
        require_resumable("forgetful", {}, small)
    for name in ("in-turn", "named", "tuple"):
        require_resumable(name, {}, small)


def test_a_study_leaves_settings_with_which_a_step_fails_to_their_runs():
    require_resumable("fussy", {"lr": 2.0}, small)


def test_arguments_are_as_the_constructor_takes_them():
    model = nn.Linear(2, 2)
    assert build("tuple", model, {"betas": [0.5, 0.6]}).optimizer.param_groups[0]["betas"] == (0.5, 0.6)
    assert build("scheduled", model, {}, steps=77).optimizer.param_groups[0]["t0"] == 77
    assert build("named", model, {}).optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(UserError, match=r"betas is 0.5; it must be a list like \[0.9, 0.99\]"):
        build("tuple", model, {"betas": 0.5})
