"""A step of PAL by hand: plain copies of the model, torch's autograd and three numbers."""

import copy
import math
import random
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from pal import PAL

Loss = Callable[[Any], Tensor]

needs_sharding = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this torch cannot shard on the CPU"
)


class Step(NamedTuple):
    """What a step must see and leave behind."""

    loss0: float
    slope: float
    loss_mu: float
    step: float
    weights: list[Tensor]
    state: dict[str, Tensor]


def draws() -> tuple[Any, ...]:
    """Where the global random generators are."""
    numpy: Any = sys.modules.get("numpy")
    return torch.get_rng_state(), random.getstate(), numpy and numpy.random.get_state()


def set_draws(moment: tuple[Any, ...]) -> None:
    host, python, numpy_state = moment
    torch.set_rng_state(host)
    random.setstate(python)
    if numpy_state:
        sys.modules["numpy"].random.set_state(numpy_state)


def moving(model: nn.Module) -> list[nn.Parameter]:
    return [param for param in model.parameters() if param.requires_grad]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Everything but the moving weights: buffers, also those that are not saved, and frozen weights."""
    frozen = {name: param for name, param in model.named_parameters() if not param.requires_grad}
    return {
        name: value.detach().clone()
        for name, value in {**dict(model.named_buffers()), **frozen}.items()
        if value is not None
    }


def gradient_of(loss: Tensor, params: list[nn.Parameter]) -> list[Tensor]:
    """The gradient, by backward, for which reentrant checkpoints ask."""
    for param in params:
        param.grad = None
    loss.backward()
    return [torch.zeros_like(param) if param.grad is None else param.grad for param in params]


def length(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(tensor.detach().double().square().sum().item() for tensor in tensors))


def by_hand(model: nn.Module, loss: Loss, mu: float = 0.1, s_max: float = 3.16) -> Step:
    """The step on loss(model), computed in copies; the model and the random generators stay as they are.

    The first evaluation belongs to a copy whose state it changes, the second to a copy with the state of before, the
    weights mu along the gradient and the same random numbers.
    """
    moment = draws()
    measured, probe = copy.deepcopy(model), copy.deepcopy(model)
    value = loss(measured)
    gradient = gradient_of(value, moving(measured))
    norm = length(gradient)
    with torch.no_grad():
        for param, origin, g in zip(moving(probe), moving(measured), gradient, strict=True):
            param.copy_(origin - mu / norm * g)
    set_draws(moment)
    loss_mu = loss(probe).item()
    set_draws(moment)
    curvature = 2 * (loss_mu - value.item() + norm * mu) / mu**2
    step = min(norm / curvature if curvature > 0 else mu, s_max)
    weights = [p.detach() - step / norm * g for p, g in zip(moving(measured), gradient, strict=True)]
    return Step(value.item(), -norm, loss_mu, step, weights, state_of(measured))


def assert_taken(optimizer: PAL, model: nn.Module, right: Step, tolerance: float = 1e-9) -> None:
    """The step that the optimizer took on the model is the one by hand."""
    line = optimizer.line
    for name in ("loss0", "slope", "loss_mu"):
        seen, wanted = float(getattr(line, name)), getattr(right, name)
        assert math.isclose(seen, wanted, rel_tol=tolerance, abs_tol=tolerance), (
            f"{name}: {seen}, by hand {wanted}"
        )
    loose = math.sqrt(tolerance) / 10
    assert math.isclose(line.step, right.step, rel_tol=loose), (
        f"step: {float(line.step)}, by hand {right.step}"
    )
    for seen, wanted in zip(moving(model), right.weights, strict=True):
        torch.testing.assert_close(seen.detach(), wanted, rtol=loose, atol=loose)
    state = state_of(model)
    assert state.keys() == right.state.keys()
    for name, wanted in right.state.items():
        torch.testing.assert_close(
            state[name], wanted, rtol=tolerance, atol=tolerance, msg=f"{name} is not as after one batch"
        )


def follow(
    model: nn.Module,
    loss: Loss,
    steps: int = 3,
    mu: float = 0.1,
    tolerance: float = 1e-9,
    closure: Callable[[], Tensor] | None = None,
) -> PAL:
    """Take steps of PAL on loss(model), or on a closure that enters it elsewhere; hold each to the one by hand."""
    optimizer = PAL(moving(model), mu=mu)
    for _ in range(steps):
        right = by_hand(model, loss, mu)
        optimizer.step(closure or (lambda: loss(model)))
        assert_taken(optimizer, model, right, tolerance)
    return optimizer


def perceptron(*middle: nn.Module, seed: int = 0) -> nn.Sequential:
    """Three inputs, four hidden units, one output, in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Linear(4, 1)).double()


def data(rows: int = 16, columns: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs and targets in float64."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, width, generator=generator, dtype=torch.float64) for width in (columns, 1))
    return x, y
