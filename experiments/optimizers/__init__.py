"""Optimizers by name, with one way to take a step whatever closure they want."""

import importlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from experiments.errors import UserError, nearest
from experiments.optimizers.catalogue import OPTIMIZERS, Entry

Schedule = Literal["none", "step", "cosine"]
DROP = 0.1
"""Factor of the stepwise schedule at each milestone (the paper's)."""


def names() -> list[str]:
    """All optimizers."""
    return list(OPTIMIZERS)


def get(name: str) -> Entry:
    """The entry of optimizer `name`; raises UserError with the nearest names if there is none."""
    if name not in OPTIMIZERS:
        raise UserError(f"there is no optimizer {name!r}; {nearest(name, OPTIMIZERS)}")
    return OPTIMIZERS[name]


def resolve(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All settings of an optimizer, the given ones over the defaults, in the defaults' number types."""
    known = get(name).settings
    for setting in settings:
        if setting not in known:
            raise UserError(f"optimizer {name!r} has no setting {setting!r}; {nearest(setting, known)}")
    return {key: _like(default, settings.get(key, default)) for key, default in known.items()}


def _like(default: Any, value: Any) -> Any:
    """1 written for 1.0 is the same setting; a setting that is off by default counts as float."""
    return float(value) if type(value) is int and not isinstance(default, int) else value


def check(name: str, settings: dict[str, Any], schedule: Schedule = "none") -> None:
    """Build the optimizer for one number; raises UserError with its own sentence if it refuses a setting."""
    build(name, [torch.zeros(1, requires_grad=True)], settings, schedule, steps=1)


def build(
    name: str,
    params: Iterable[Tensor],
    settings: dict[str, Any],
    schedule: Schedule = "none",
    steps: int = 1,
    milestones: tuple[float, ...] = (0.5, 0.75),
) -> "Method":
    """The optimizer `name` over the parameters.

    Args:
        name: As in `names`.
        params: What it trains.
        settings: Changes to the entry's defaults.
        schedule: "none", "step" (times 0.1 at each milestone) or "cosine" (to zero over the steps).
        steps: Length of the training.
        milestones: Fractions of the steps at which "step" drops the learning rate.

    Raises:
        UserError: For an unknown name, setting or schedule, or a value that the optimizer refuses.
    """
    entry = get(name)
    arguments = _constructor_arguments(resolve(name, settings)) | entry.fixed
    module, _, attribute = entry.target.partition(":")
    try:
        optimizer = getattr(importlib.import_module(module), attribute)(params, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer {name!r}: {error}") from error
    return Method(entry, optimizer, _scheduler(name, entry, optimizer, schedule, steps, milestones))


def _constructor_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """beta1 and beta2 are one argument `betas` for torch; everything else keeps its name."""
    if "beta1" not in settings:
        return settings
    rest = {key: value for key, value in settings.items() if key not in ("beta1", "beta2")}
    return rest | {"betas": (settings["beta1"], settings["beta2"])}


def _scheduler(
    name: str,
    entry: Entry,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    steps: int,
    milestones: tuple[float, ...],
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if schedule not in get_args(Schedule):
        raise UserError(f"there is no schedule {schedule!r}; {nearest(schedule, get_args(Schedule))}")
    if schedule == "none":
        return None
    if entry.rate is None:
        raise UserError(f"optimizer {name!r} has no learning rate; schedule must be 'none', not {schedule!r}")
    if schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    drops = sorted({round(fraction * steps) for fraction in milestones})
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=DROP)


def on_accelerator(param: Tensor) -> bool:
    """Whether the steps of this parameter's optimizer may be captured in a graph."""
    return param.is_cuda


class Method:
    """An optimizer with its schedule.

    Attributes:
        learning_rate: Factor of the direction in the last step: step / ||d|| of a line search, else the learning
            rate; NaN where an optimizer has neither.
        update: A step but for the schedule: what a captured graph may stand in for (see `experiments.captured`).

    Args:
        entry: How it wants to be called.
        optimizer: The optimizer.
        scheduler: Multiplies its learning rate, or None.
    """

    def __init__(
        self,
        entry: Entry,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    ) -> None:
        self.entry = entry
        self.optimizer: Any = optimizer  # some want a closure that torch does not know
        self.scheduler = scheduler
        self.learning_rate: Tensor | float = math.nan
        self.train()
        self.update: Callable[[Callable[[], Tensor]], Tensor] = {
            "forward": self._forward,
            "none": self._none,
        }[entry.closure]
        self._flags = dict.fromkeys(
            entry.captured or (), on_accelerator(optimizer.param_groups[0]["params"][0])
        )
        for group in optimizer.param_groups:
            group.update(self._flags)
        # torch wonders why an optimizer that can be captured is not; its eager steps must round as the captured do.
        self.optimizer._warned_capturable_if_run_uncaptured = True

    def step(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        """One step on the loss that `loss_fn` computes by a forward pass; returns l(0), detached."""
        loss = self.update(loss_fn)
        line = self.line
        self.learning_rate = self._rate() if line is None else line.learning_rate
        if self.scheduler is not None:
            self.scheduler.step()
        return loss

    @property
    def line(self) -> Any:
        """Record of the last line search; None for optimizers that search no line."""
        return getattr(self.optimizer, "line", None)

    def train(self) -> None:
        """Put the weights where training wants them (only schedule-free optimizers tell the two apart)."""
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    def eval(self) -> None:
        """Put the weights where evaluation wants them."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scheduler": scheduler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        saved = state["optimizer"]
        groups = [group | self._flags for group in saved["param_groups"]]  # as this device wants them
        self.optimizer.load_state_dict(saved | {"param_groups": groups})
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    @property
    def host_work(self) -> str | None:
        """What the host has to do in every step, so that no graph can stand in for it; None if there is nothing."""
        if self.entry.captured is None:
            return f"{type(self.optimizer).__name__} decides on the host how to go on"
        if isinstance(self.scheduler, torch.optim.lr_scheduler.CosineAnnealingLR):
            return "the learning rate is another one in every step"
        return None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers of the host that decide about a step, such as the learning rate."""
        values = (value for group in self.optimizer.param_groups for value in group.values())
        return tuple(value for value in values if isinstance(value, int | float))

    @property
    def tensors(self) -> list[Tensor]:
        """What an update changes beside the weights: state by parameter, and counters of a whole group."""
        holders = [*self.optimizer.state.values(), *self.optimizer.param_groups]
        return [value for holder in holders for value in holder.values() if isinstance(value, Tensor)]

    def replayer(self, graph: Any) -> Callable[[], None]:
        """What replays a graph into which an update will be captured, with the random numbers of an eager update."""
        register = getattr(self.optimizer, "register_graph", None)
        return graph.replay if register is None else partial(register(graph).replay, graph)

    def _rate(self) -> float:
        group = self.optimizer.param_groups[0]
        return group.get("lr", math.nan) * group.get("d", 1.0)  # d: what Prodigy multiplies lr with

    def _forward(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        return self.optimizer.step(loss_fn)

    def _none(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        loss = loss_fn()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
