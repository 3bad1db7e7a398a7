"""The optimizer interface of the training loop."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.optimizers import attributes
from experiments.optimizers.registry import OptimizerSpec
from pal.closure import BatchLoss


def on_accelerator(param: Tensor) -> bool:
    """Whether steps on this parameter may be captured in a CUDA graph."""
    return param.is_cuda


class ScheduledOptimizer:
    """An optimizer with its schedule, and with one interface whatever closure it needs.

    Attributes:
        learning_rate: Factor of the direction in the last step: step / ||d|| for a line search, else the learning
            rate; NaN if an optimizer has neither.
        update: A step without the schedule, which a captured graph may replace (see `training.cuda_graphs`).

    Args:
        spec: How to call it.
        optimizer: The optimizer.
        scheduler: Multiplies its learning rate, or None.
    """

    def __init__(
        self,
        spec: OptimizerSpec,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    ) -> None:
        self.spec = spec
        self.optimizer: Any = optimizer  # some take a closure of another kind than torch's
        self.scheduler = scheduler
        self.learning_rate: Tensor | float = math.nan
        self._batch = BatchLoss()
        self.train()
        self.update: Callable[[Callable[[], Tensor]], Tensor] = {
            "forward": self._forward,
            "backward": self._backward,
            "none": self._none,
        }[spec.closure]
        self._flags = dict.fromkeys(
            spec.captured or (), on_accelerator(optimizer.param_groups[0]["params"][0])
        )
        for group in optimizer.param_groups:
            group.update(self._flags)
        # torch warns that a capturable optimizer is not captured; but eager steps must round as captured ones do.
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
        """The record of the last line search; None for other optimizers."""
        return getattr(self.optimizer, "line", None)

    def train(self) -> None:
        """Switch to the weights for training, which differ for schedule-free optimizers only."""
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    def eval(self) -> None:
        """Switch to the weights for evaluation."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next step depends."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "attributes": attributes.saved(self.optimizer),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        saved = state["optimizer"]
        groups = [group | self._flags for group in saved["param_groups"]]  # as this device needs them
        self.optimizer.load_state_dict(saved | {"param_groups": groups})
        attributes.restore(self.optimizer, state["attributes"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    @property
    def host_work(self) -> str | None:
        """Why a graph cannot replace a step, because the host has to work in each; None if it can."""
        if self.spec.captured is None:
            return f"{type(self.optimizer).__name__} decides on the host how to go on"
        if isinstance(self.scheduler, torch.optim.lr_scheduler.CosineAnnealingLR):
            return "the learning rate is another one in every step"
        return None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers on the host that affect a step, such as the learning rate."""
        values = (value for group in self.optimizer.param_groups for value in group.values())
        return tuple(value for value in values if isinstance(value, int | float))

    @property
    def tensors(self) -> list[Tensor]:
        """What an update changes besides the weights: state per parameter, counters per group, and PAL's cases."""
        runtime = getattr(self.optimizer, "_runtime", None)
        counters = {} if runtime is None else {"cases": runtime.cases}
        holders = [*self.optimizer.state.values(), *self.optimizer.param_groups, counters]
        return [value for holder in holders for value in holder.values() if isinstance(value, Tensor)]

    def replayer(self, graph: Any) -> Callable[[], None]:
        """A function that replays the graph to be captured, with the random numbers of an eager update."""
        register = getattr(self.optimizer, "register_graph", None)
        return graph.replay if register is None else partial(register(graph).replay, graph)

    def _rate(self) -> float:
        group = self.optimizer.param_groups[0]
        return group.get("lr", math.nan) * group.get("d", 1.0)  # d: the factor by which Prodigy multiplies lr

    def _forward(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        return self.optimizer.step(loss_fn)

    def _backward(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        """All evaluations of the step see the same function (see `pal.closure`)."""
        batch, first = self._batch, list[Tensor]()

        def evaluate() -> Tensor:
            with torch.enable_grad():
                loss = loss_fn()
                if len(batch):  # only `measure` calls backward itself
                    loss.backward()
            return loss

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = batch.reevaluate() if len(batch) else batch.measure(evaluate)
            first.append(loss.detach())
            return loss

        try:
            self.optimizer.step(closure)
            return first[0].clone()
        finally:
            batch.reset()

    def _none(self, loss_fn: Callable[[], Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        loss = loss_fn()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
