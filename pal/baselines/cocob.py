"""COCOB: coin betting instead of a learning rate."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import POSITIVE
from pal.baselines.plain import Plain


class COCOB(Plain):
    r"""Continuous coin betting, in its variant for backpropagation, without a learning rate.

    For each coordinate, with initial value w1: L <- max(L, |g|), G <- G + |g|, reward <- max(reward - g (w - w1), 0),
    theta <- theta - g, and w <- w1 + theta / (L max(G + L, alpha L)) (L + reward).

    Args:
        params: parameters or parameter groups.
        alpha: limits the fraction that the first bets stake, > 0.
        eps: initial value of L, > 0.

    Source: Orabona and Tommasi, NeurIPS 2017, arXiv:1705.07795, algorithm 2.
    """

    def __init__(self, params: ParamsT, alpha: float = 100.0, eps: float = 1e-8) -> None:
        super().__init__(params, {"alpha": alpha, "eps": eps}, {"alpha": POSITIVE, "eps": POSITIVE})

    def _update(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        for param, gradient in zip(params, gradients, strict=True):
            state = self.state[param]
            if not state:
                state["start"] = param.clone()
                state["scale"] = torch.full_like(param, group["eps"])
                for name in ("total", "reward", "theta"):
                    state[name] = torch.zeros_like(param)
            size, scale = gradient.abs(), state["scale"]
            torch.maximum(scale, size, out=scale)
            total = state["total"].add_(size)
            reward = state["reward"].addcmul_(gradient, param - state["start"], value=-1).clamp_(min=0)
            theta = state["theta"].sub_(gradient)
            stake = scale * torch.maximum(total + scale, group["alpha"] * scale)
            param.copy_(state["start"] + theta / stake * (scale + reward))
