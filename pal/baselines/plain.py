"""The base class of baselines that only use gradients, with the interface of torch.optim."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import Range, check


class Plain(torch.optim.Optimizer):
    """An optimizer whose step only uses gradients; subclasses implement `_update` for one parameter group.

    Args:
        params: parameters or parameter groups, which may have their own hyper-parameters.
        settings: default hyper-parameters.
        ranges: their ranges.

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """

    def __init__(self, params: ParamsT, settings: dict[str, Any], ranges: Mapping[str, Range]) -> None:
        check(settings, ranges)
        self._ranges = ranges
        super().__init__(params, settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; ValueError if a hyper-parameter is out of range."""
        check({**self.defaults, **param_group}, self._ranges)
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; a closure, if given, first computes the loss, which is returned, and its gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if any(param.grad.layout != torch.strided for param in params):
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            if params:
                self._update(group, params, [param.grad for param in params])
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        """Update the parameters of a group."""
        raise NotImplementedError
