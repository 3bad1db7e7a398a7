"""Optimizers by name, with their schedule."""

import inspect
import reprlib
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from experiments.common.errors import UserError, nearest
from experiments.common.registry import load
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.optimizers.scheduled import ScheduledOptimizer

Schedule = Literal["none", "step", "cosine"]
DROP = 0.1
"""The paper's factor of the stepwise schedule at each milestone."""


def resolve(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All hyper-parameters of an optimizer: the given ones, defaults for the others, in the types of the defaults.

    Tuples are lists here, as in YAML and JSON.
    """
    known = OPTIMIZERS[name].settings
    for setting in settings:
        if setting not in known:
            raise UserError(f"optimizer {name!r} has no setting {setting!r}; {nearest(setting, known)}")
    return {key: _like(default, settings.get(key, default), key) for key, default in known.items()}


def _like(default: Any, value: Any, name: str) -> Any:
    """Make an integer a float unless the default is an integer: 1 and 1.0 are the same value."""
    if isinstance(default, tuple | list):
        if not isinstance(value, tuple | list) or len(value) != len(default):
            raise UserError(f"{name} is {reprlib.repr(value)}; it must be a list like {list(default)}")
        return [_like(each, one, name) for each, one in zip(default, value, strict=True)]
    if type(value) is not int or isinstance(default, int):
        return value
    try:
        return float(value)
    except OverflowError:
        raise UserError(f"{reprlib.repr(value)} is too large for a setting") from None


def check(name: str, settings: dict[str, Any], schedule: Schedule = "none") -> None:
    """Build the optimizer for a dummy parameter; raises UserError with its own message if it rejects a value.

    One that takes more than parameters is built only if there is a network (see `checks`).
    """
    if OPTIMIZERS[name].params is None:
        build(name, [torch.zeros(1, requires_grad=True)], settings, schedule, steps=1)


def build(
    name: str,
    params: Iterable[Tensor] | nn.Module,
    settings: dict[str, Any],
    schedule: Schedule = "none",
    steps: int = 1,
    milestones: tuple[float, ...] = (0.5, 0.75),
) -> ScheduledOptimizer:
    """The optimizer `name` over the parameters.

    Args:
        name: A key of `OPTIMIZERS`.
        params: The parameters to train, or the network that has them.
        settings: Hyper-parameters that differ from the defaults.
        schedule: "none", "step" (times 0.1 at each milestone) or "cosine" (to zero over the steps).
        steps: Length of the training.
        milestones: Fractions of the steps at which "step" drops the learning rate.

    Raises:
        UserError: For an unknown name, hyper-parameter or schedule, or a value that the optimizer rejects.
    """
    spec = OPTIMIZERS[name]
    if isinstance(params, nn.Module):
        params = params.parameters() if spec.params is None else spec.params(params)
    try:
        constructor = load(spec.target)
        arguments = _arguments(spec, constructor, resolve(name, settings), steps)
        optimizer = constructor(params, **arguments)
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise UserError(f"optimizer {name!r}: {error}") from error
    return ScheduledOptimizer(spec, optimizer, _scheduler(name, spec, optimizer, schedule, steps, milestones))


def _arguments(spec: OptimizerSpec, constructor: Any, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """What the constructor takes: tuples where the defaults are tuples, and the length of the training."""
    tuples = {name for name, default in spec.settings.items() if isinstance(default, tuple)}
    known = {name: tuple(value) if name in tuples else value for name, value in settings.items()}
    if "beta1" in known and "betas" in inspect.signature(constructor).parameters:  # as torch takes them
        known["betas"] = (known.pop("beta1"), known.pop("beta2"))
    return known | spec.fixed | ({} if spec.steps is None else {spec.steps: steps})


def _scheduler(
    name: str,
    spec: OptimizerSpec,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    steps: int,
    milestones: tuple[float, ...],
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if schedule not in get_args(Schedule):
        raise UserError(f"there is no schedule {schedule!r}; {nearest(schedule, get_args(Schedule))}")
    if schedule == "none":
        return None
    if spec.rate is None:
        raise UserError(f"optimizer {name!r} has no learning rate; schedule must be 'none', not {schedule!r}")
    if schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    drops = sorted({round(fraction * steps) for fraction in milestones})
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=DROP)
