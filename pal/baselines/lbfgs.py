"""LBFGS of torch where the loss is random: all evaluations of a step see one function."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.closure import BatchLoss, Closure


class LBFGS(torch.optim.LBFGS):
    """torch's LBFGS for closures that run the forward pass only.

    Each evaluation of a step draws the same random numbers, and norm statistics count the batch once (see
    `pal.closure`). With a usual closure every trial would see other dropout masks, and count the batch again.

    Args:
        params: parameters, in one group.
        settings: of torch.optim.LBFGS.
    """

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        self._batch = BatchLoss()
        super().__init__(params, **settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint or a pickle."""
        super().__setstate__(state)
        self._batch = BatchLoss()

    def step(self, closure: Closure) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step, of up to `max_iter` iterations on the same batch.

        Args:
            closure: runs the forward pass and returns the loss; the rest is done here.

        Returns:
            The loss before the step, detached.
        """
        batch = self._batch

        def evaluate() -> Tensor:
            with torch.enable_grad():
                loss = closure()
                if len(batch):  # again: only the first measurement calls backward by itself
                    torch.autograd.backward(loss)
            return loss

        def measure() -> Tensor:
            self.zero_grad()
            loss = batch.again() if len(batch) else batch.measure(evaluate)
            for param in self.param_groups[0]["params"]:
                if param.grad is not None:
                    param.grad = param.grad.contiguous()  # torch flattens it by `view`, which needs rows
            return loss

        try:
            return cast(Tensor, super().step(measure))  # pyright: ignore[reportUnknownMemberType]
        finally:
            batch.reset()
