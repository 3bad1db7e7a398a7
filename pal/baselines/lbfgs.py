"""L-BFGS for stochastic losses: all evaluations of a step see the same function."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.closure import BatchLoss, Closure


class LBFGS(torch.optim.LBFGS):
    """torch.optim.LBFGS for closures that only run the forward pass.

    All evaluations of a step use the same random numbers, and batch-norm running statistics count the batch once (see
    `pal.closure`). Otherwise, each evaluation would use other dropout masks, and count the batch again.

    Args:
        params: parameters, in one group.
        settings: arguments of torch.optim.LBFGS.
    """

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        self._batch = BatchLoss()
        super().__init__(params, **settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the state of a checkpoint or a pickle."""
        super().__setstate__(state)
        self._batch = BatchLoss()

    def step(self, closure: Closure) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step, of up to `max_iter` iterations on the same batch.

        Args:
            closure: runs the forward pass and returns the loss; it need not call backward.

        Returns:
            The loss before the step, detached.
        """
        batch = self._batch

        def evaluate() -> Tensor:
            with torch.enable_grad():
                loss = closure()
                if len(batch):  # only `measure` calls backward itself
                    torch.autograd.backward(loss)
            return loss

        def measure() -> Tensor:
            self.zero_grad()
            loss = batch.reevaluate() if len(batch) else batch.measure(evaluate)
            for param in self.param_groups[0]["params"]:
                if param.grad is not None:
                    param.grad = param.grad.contiguous()  # torch flattens it by `view`
            return loss

        try:
            return cast(Tensor, super().step(measure))  # pyright: ignore[reportUnknownMemberType]
        finally:
            batch.reset()
