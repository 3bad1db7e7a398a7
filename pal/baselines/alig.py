"""ALI-G: a Polyak step size for networks that can interpolate their training data."""

import math

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import LIMIT, MOMENTUM, POSITIVE, Descent, LineSearch, SearchResult


class AliG(LineSearch):
    r"""Adaptive learning rates for interpolation with gradients: gamma = min(l(0) / (||g||² + eps), max_lr).

    theta <- theta - gamma g, and with momentum rho: v <- rho v - gamma g, theta <- theta - gamma g + rho v.
    It assumes that the minimal loss is about zero, and evaluates the batch loss once.

    Args:
        params: parameters or parameter groups.
        max_lr: maximum learning rate, > 0. Default: no limit.
        momentum: rho, in [0, 1).
        eps: avoids division by zero, > 0.
        numerator: constant to use instead of the loss, > 0. The port published with the paper divides its step counter,
            which stays at 1, instead of the loss: `numerator=1.0` reproduces it.

    Source: Berrada, Zisserman and Kumar, ICML 2020, arXiv:1906.05661, algorithm 1, with Nesterov momentum as in their
    implementation.
    """

    def __init__(
        self,
        params: ParamsT,
        max_lr: float | None = None,
        momentum: float = 0.0,
        eps: float = 1e-5,
        *,
        numerator: float | None = None,
    ) -> None:
        settings = {"max_lr": max_lr, "momentum": momentum, "eps": eps, "numerator": numerator}
        ranges = {"max_lr": LIMIT, "momentum": MOMENTUM, "eps": POSITIVE, "numerator": POSITIVE}
        super().__init__(params, settings, ranges)

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        self._batch.watching = False  # the batch loss is evaluated once, so modules need not be found
        numerator = descent.loss0 if group["numerator"] is None else group["numerator"]
        rate = numerator / (descent.norm**2 + group["eps"])
        cap = math.inf if group["max_lr"] is None else group["max_lr"]
        return SearchResult(min(rate, cap) * descent.norm, clipped=rate > cap)

    def _move(self, descent: Descent, params: list[Tensor], distance: float) -> None:
        super()._move(descent, params, distance)
        momentum = self.param_groups[0]["momentum"]
        if momentum == 0:
            return
        rate = distance / descent.norm if descent.norm else 0.0
        for param, gradient in zip(params, self._directions(params), strict=True):
            state = self.state[param]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(param)
            velocity = state["velocity"].mul_(momentum).sub_(gradient, alpha=rate)
            param.add_(velocity, alpha=momentum)
