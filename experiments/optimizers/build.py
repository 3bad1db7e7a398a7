"""Optimizers by name, with their schedule."""

import reprlib
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from experiments.common.errors import UserError, nearest
from experiments.common.registry import load
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.optimizers.scheduled import ScheduledOptimizer

Schedule = Literal["none", "step", "cosine"]
DROP = 0.1
"""The paper's factor of the stepwise schedule at each milestone."""


def resolve(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All hyper-parameters of an optimizer: the given ones, defaults for the others, in the types of the defaults."""
    known = OPTIMIZERS[name].settings
    for setting in settings:
        if setting not in known:
            raise UserError(f"optimizer {name!r} has no setting {setting!r}; {nearest(setting, known)}")
    return {key: _like(default, settings.get(key, default)) for key, default in known.items()}


def _like(default: Any, value: Any) -> Any:
    """Make an integer a float unless the default is an integer: 1 and 1.0 are the same value."""
    if type(value) is not int or isinstance(default, int):
        return value
    try:
        return float(value)
    except OverflowError:
        raise UserError(f"{reprlib.repr(value)} is too large for a setting") from None


def check(name: str, settings: dict[str, Any], schedule: Schedule = "none") -> None:
    """Build the optimizer for a dummy parameter; raises UserError with its own message if it rejects a value."""
    build(name, [torch.zeros(1, requires_grad=True)], settings, schedule, steps=1)


def build(
    name: str,
    params: Iterable[Tensor],
    settings: dict[str, Any],
    schedule: Schedule = "none",
    steps: int = 1,
    milestones: tuple[float, ...] = (0.5, 0.75),
) -> ScheduledOptimizer:
    """The optimizer `name` over the parameters.

    Args:
        name: A key of `OPTIMIZERS`.
        params: The parameters to train.
        settings: Hyper-parameters that differ from the defaults.
        schedule: "none", "step" (times 0.1 at each milestone) or "cosine" (to zero over the steps).
        steps: Length of the training.
        milestones: Fractions of the steps at which "step" drops the learning rate.

    Raises:
        UserError: For an unknown name, hyper-parameter or schedule, or a value that the optimizer rejects.
    """
    spec = OPTIMIZERS[name]
    arguments = _constructor_arguments(resolve(name, settings)) | spec.fixed
    try:
        optimizer = load(spec.target)(params, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer {name!r}: {error}") from error
    return ScheduledOptimizer(spec, optimizer, _scheduler(name, spec, optimizer, schedule, steps, milestones))


def _constructor_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Join beta1 and beta2 into torch's argument `betas`; all other names stay."""
    if "beta1" not in settings:
        return settings
    rest = {key: value for key, value in settings.items() if key not in ("beta1", "beta2")}
    return rest | {"betas": (settings["beta1"], settings["beta2"])}


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
