"""SGD with hypergradient descent on its learning rate."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import MOMENTUM, NOT_NEGATIVE
from pal.baselines.plain import Plain


class SGDHD(Plain):
    r"""SGD that takes a gradient step on its learning rate before each step on the weights.

    lr <- lr + hypergrad_lr g.u, with u the previous direction; then u <- g, and with momentum rho:
    v <- rho v + g, u <- v or, for Nesterov, u <- g + rho v; then theta <- theta - lr u. Each group has its own lr.

    Args:
        params: parameters or parameter groups.
        lr: initial learning rate, >= 0.
        momentum: rho, in [0, 1).
        nesterov: whether to use Nesterov momentum, which requires momentum > 0.
        hypergrad_lr: learning rate of the learning rate, >= 0.

    Source: Baydin et al., ICLR 2018, arXiv:1703.04782, algorithm 4.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        hypergrad_lr: float = 1e-6,
    ) -> None:
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum > 0, got 0")
        settings = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "hypergrad_lr": hypergrad_lr}
        super().__init__(
            params, settings, {"lr": NOT_NEGATIVE, "momentum": MOMENTUM, "hypergrad_lr": NOT_NEGATIVE}
        )

    def _update(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        states = [self.state[param] for param in params]
        pairs = [
            (g, state["direction"])
            for g, state in zip(gradients, states, strict=True)
            if "direction" in state
        ]
        for gradient, before in pairs:
            group["lr"] += group["hypergrad_lr"] * (gradient * before).sum().item()
        for param, gradient, state in zip(params, gradients, states, strict=True):
            state["direction"] = self._direction(group, gradient, state)
            param.sub_(state["direction"], alpha=group["lr"])

    def _direction(self, group: dict[str, Any], gradient: Tensor, state: dict[str, Any]) -> Tensor:
        momentum = group["momentum"]
        if momentum == 0:
            return gradient.clone()
        velocity = state.setdefault("velocity", torch.zeros_like(gradient)).mul_(momentum).add_(gradient)
        return gradient.add(velocity, alpha=momentum) if group["nesterov"] else velocity.clone()
