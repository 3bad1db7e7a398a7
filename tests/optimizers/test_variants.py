"""PAL with one thing changed: each variant does what its name says, and nothing else."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments import optimizers
from experiments.optimizers.variants import Refusal
from experiments.results.tables.ablation import REFUSED
from pal.parabola import Case

VARIANTS = ["pal-counted-twice", "pal-new-masks", "pal-safeguard"]


def network(norm: bool = True, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(9) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(5, 9), middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(9, 3))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 5, generator=generator), torch.randint(3, (16,), generator=generator)


def fit(name: str, model: nn.Module, steps: int, **settings: float) -> tuple[list[float], list[int]]:
    """Losses and cases of the first steps of a training."""
    method = optimizers.build(name, model.parameters(), settings)
    losses, cases = [], []
    torch.manual_seed(1)
    for step in range(steps):
        x, y = batch(step)
        losses.append(method.step(lambda x=x, y=y: functional.cross_entropy(model(x), y)).item())
        cases.append(int(method.line.case))
    return losses, cases


def same(one: nn.Module, other: nn.Module, statistics: bool = True) -> bool:
    states = [model.state_dict() for model in (one, other)]
    names = [name for name in states[0] if statistics or not name.startswith(("1.running", "1.num"))]
    return all(torch.equal(*(state[name] for state in states)) for name in names)


@pytest.mark.parametrize("name", [*VARIANTS, "pal-l2-beside"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_where_its_change_means_nothing_a_variant_is_plain_pal_bit_by_bit(name, beta):
    plain, changed = (
        network(norm=name != "pal-counted-twice", dropout=0.0 if name == "pal-new-masks" else 0.5)
        for _ in range(2)
    )
    settings = {"alpha": 0.3, "beta": beta}  # half the way to the minimum: nothing to take back
    own = {"weight_decay": 0.0} if name == "pal-l2-beside" else {}
    assert fit("pal", plain, 12, **settings) == fit(name, changed, 12, **settings | own)
    assert same(plain, changed)


def test_counting_twice_updates_running_statistics_at_the_weights_and_at_the_probe():
    plain, twice = network(), network()
    by_hand = copy.deepcopy(plain)
    x, y = batch(0)
    loss = functional.cross_entropy(by_hand(x), y)
    gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
    length = math.sqrt(sum(g.square().sum().item() for g in gradients))
    with torch.no_grad():
        for param, gradient in zip(by_hand.parameters(), gradients, strict=True):
            param -= 0.1 / length * gradient
        by_hand(x)
    assert fit("pal", plain, 1)[0] == fit("pal-counted-twice", twice, 1)[0]
    assert same(plain, twice, statistics=False)
    torch.testing.assert_close(twice[1].running_mean, by_hand[1].running_mean)
    torch.testing.assert_close(twice[1].running_var, by_hand[1].running_var)
    assert (plain[1].num_batches_tracked, twice[1].num_batches_tracked) == (1, 2)
    assert fit("pal", plain, 9)[0] == fit("pal-counted-twice", twice, 9)[0]


@pytest.mark.parametrize(("name", "equal"), [("pal", True), ("pal-new-masks", False)])
def test_masks_at_the_probe(name, equal):
    layers = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5))
    masks: list[torch.Tensor] = []
    layers[1].register_forward_hook(lambda _, __, output: masks.append(output == 0))
    method = optimizers.build(name, layers.parameters(), {})
    torch.manual_seed(2)
    for _ in range(2):
        method.step(lambda: (layers(torch.ones(1, 4)) - 1).square().sum())
    assert torch.equal(masks[0], masks[1]) == torch.equal(masks[2], masks[3]) == equal
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == (2 if equal else 4)
    torch.manual_seed(2)
    first = [layers(torch.ones(1, 4)) == 0 for _ in range(2)]
    assert torch.equal(first[0], masks[0])  # what the steps draw first is what plain PAL draws
    assert torch.equal(first[1], masks[2])


@pytest.mark.parametrize("mu", [0.02, 1.0])
def test_no_step_of_the_safeguard_ends_above_its_start(mu):
    model = network(dropout=0.3)
    method = optimizers.build("pal-safeguard", model.parameters(), {"mu": mu, "alpha": 3.0})
    cases = []
    for step in range(30):
        x, y = batch(step)

        def loss(x=x, y=y, step=step):
            torch.manual_seed(step)
            return functional.cross_entropy(model(x), y)

        start = method.step(loss)
        before = copy.deepcopy(model.state_dict())
        assert loss() <= start
        model.load_state_dict(before)  # the running statistics
        cases.append(int(method.line.case))
    assert Refusal.STAYED in cases or Refusal.MEASURED in cases
    assert Case.PARABOLA in cases
    assert sum(method.optimizer.cases.values()) == 30


def wall(theta: torch.Tensor) -> torch.Tensor:
    """A parabola with its minimum at 0, where a wall begins, and a spike at 0.6."""
    spike = (0.05 - (theta - 0.6).abs()).clamp(min=0)
    return (theta.square() + 1e3 * ((-theta - 0.1).clamp(min=0) + spike)).sum()


@pytest.mark.parametrize(
    ("mu", "s_max", "alpha", "refusal", "reached"),
    [
        (0.5, 3.0, 2.0, Refusal.MEASURED, 0.5),
        (0.5, 0.4, 2.0, Refusal.STAYED, 1.0),  # the probe is too far away to go there
        (1.5, 3.0, 1e3, Refusal.STAYED, 1.0),  # the probe is no better
        (0.5, 0.3, 2.0, Case.PARABOLA, 0.7),
    ],
)
def test_a_step_that_raises_the_loss_goes_to_the_probe_or_nowhere(mu, s_max, alpha, refusal, reached):
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    method = optimizers.build("pal-safeguard", [theta], {"mu": mu, "s_max": s_max, "alpha": alpha})
    method.step(lambda: wall(theta))
    assert theta.item() == pytest.approx(reached)
    assert method.line.step.item() == pytest.approx(1 - reached)
    assert method.line.case == refusal
    assert method.line.evaluations == 3


def test_refusals_are_told_from_the_cases_of_a_line():
    assert max(Case) < REFUSED == min(Refusal)


def test_l2_outside_the_loss_decays_weights_by_the_step():
    theta = torch.tensor([3.0, 1.0], requires_grad=True)
    method = optimizers.build("pal-l2-beside", [theta], {"mu": 0.1, "weight_decay": 0.5})
    method.step(lambda: theta[0].square())
    assert method.line.loss0 == 9.0
    rate = method.learning_rate.item()
    assert theta[1].item() == pytest.approx(1 - 0.5 * rate)
