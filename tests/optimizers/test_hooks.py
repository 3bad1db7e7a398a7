"""PAL with hooks: PAL itself if none is replaced, and what each of them changes."""

import copy
import io
import math

import pytest
import torch
from test_variants import batch, network
from torch.nn import functional

from experiments.optimizers.hooks import PALVariant
from pal.optimizer import PAL
from pal.parabola import Case


def train(optimizer, model, steps):
    """The records of some steps."""
    records = []
    for step in steps:
        x, y = batch(step)
        optimizer.step(lambda x=x, y=y: functional.cross_entropy(model(x), y))
        records.append(optimizer.line)
    return records


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_without_a_hook_of_its_own_it_is_pal_bit_by_bit(beta):
    plain, hooked = network(dropout=0.5), network(dropout=0.5)
    for model, kind in ((plain, PAL), (hooked, PALVariant)):
        torch.manual_seed(1)
        train(kind(model.parameters(), mu=0.1, beta=beta), model, range(12))
    for one, other in zip(plain.state_dict().values(), hooked.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Signs(PALVariant):
    """Along the signs of the gradient."""

    def direction(self, param, gradient):
        return gradient.sign()


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_along_another_direction_the_slope_is_that_of_the_loss(beta):
    torch.manual_seed(0)
    model = network(norm=False).double()
    optimizer = Signs(model.parameters(), mu=1e-4, beta=beta)
    for step in range(3):
        before = [param.detach().clone() for param in model.parameters()]
        x, y = batch(step)
        x = x.double()
        optimizer.step(lambda x=x, y=y: functional.cross_entropy(model(x), y))
        line = optimizer.line
        moved = [now.detach() - then for now, then in zip(model.parameters(), before, strict=True)]
        assert torch.stack([each.square().sum() for each in moved]).sum().sqrt() == pytest.approx(
            float(line.step)
        )
        if beta == 0.0:
            for each in moved:
                assert each.abs().max() == pytest.approx(float(line.step / line.norm))
        difference = (float(line.loss_mu) - float(line.loss0)) / 1e-4
        assert float(line.slope) == pytest.approx(difference, rel=1e-3)


def test_the_distance_of_measuring_may_change_from_step_to_step():
    class Follows(PALVariant):
        def measuring_distance(self):
            return 0.05 if self.line is None else max(1e-3, float(self.line.step) / 2)

    model = network(norm=False)
    optimizer = Follows(model.parameters(), mu=0.3)
    first, second = train(optimizer, model, range(2))
    direct = network(norm=False)
    expected = train(PAL(direct.parameters(), mu=0.05), direct, range(1))[0]
    assert float(first.loss_mu) == float(expected.loss_mu)
    assert optimizer.param_groups[0]["mu"] == 0.3
    assert float(second.step) > 0


def test_slope_and_step_rule_decide_on_the_step():
    class Half(PALVariant):
        def slope(self, line):
            return 2 * line.slope

        def step_rule(self, line, parabola):
            assert line.loss_at(line.mu) == pytest.approx(line.loss_mu)
            return float(parabola.step) / 2

    theta = torch.tensor([1.0], requires_grad=True)
    optimizer = Half([theta], mu=0.1)
    optimizer.step(lambda: theta.square().sum())
    # l(s) = (1 - s)²: with twice the slope, the parabola through l(0) and l(.1) has a = (.81 - 1 + .4) / .01 = 21.
    assert float(optimizer.line.step) == pytest.approx(4 / 42 / 2, rel=1e-4)
    assert optimizer.line.case == Case.PARABOLA


@pytest.mark.parametrize(("hook", "value"), [("measuring_distance", -1.0), ("step_rule", math.nan)])
def test_a_hook_that_returns_nonsense_is_named_and_the_weights_stay(hook, value):
    kind = type("Odd", (PALVariant,), {hook: lambda *_: value})
    theta = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=f"{hook} of Odd returned {value}"):
        kind([theta], mu=0.1).step(lambda: theta.square().sum())
    assert theta.item() == 1.0


def test_a_batch_that_is_not_finite_leaves_the_weights_whatever_the_rule():
    class Bold(PALVariant):
        def step_rule(self, line, parabola):
            return 1.0

    theta = torch.tensor([1.0], requires_grad=True)
    optimizer = Bold([theta], mu=0.1)
    optimizer.step(lambda: (theta * math.nan).sum())
    assert (theta.item(), optimizer.line.case) == (1.0, Case.NONFINITE)


def test_copies_and_pickles_keep_the_hooks():
    model = network(norm=False)
    optimizer = Signs(model.parameters(), mu=0.1)
    train(optimizer, model, range(2))
    file = io.BytesIO()
    torch.save(copy.deepcopy(optimizer).state_dict(), file)
    assert isinstance(copy.deepcopy(optimizer), Signs)
