"""MoMo: a Polyak step size for SGD with momentum."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import MOMENTUM, NOT_NEGATIVE, Descent, LineSearch, SearchResult
from pal.parabola import Case


class Means(NamedTuple):
    """Moving averages of a parameter's gradient g, and of g.theta."""

    param: Tensor
    gradient: Tensor
    product: Tensor


class MoMo(LineSearch):
    r"""Momentum with a Polyak step size: theta <- theta - tau d with tau = min(lr, max(f + d.theta - p, 0) / ||d||²).

    f, d and p are moving averages of l(0), g and g.theta, initialised with their first values: f + d.theta - p is the
    average, at theta, of the linear models of all batches so far. It assumes that the minimal loss is about zero, and
    evaluates the batch loss once.

    Args:
        params: parameters or parameter groups.
        lr: maximum learning rate, >= 0.
        beta: decay of the moving averages, in [0, 1).

    Source: Schaipp et al., ICML 2024, arXiv:2305.07583, algorithm 1 with lower bound 0 and without bias correction, the
    defaults of their package `momo-opt`. Batches whose loss or gradient is not finite do not enter the averages.
    """

    def __init__(self, params: ParamsT, lr: float = 1.0, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta}, {"lr": NOT_NEGATIVE, "beta": MOMENTUM})
        self.param_groups[0]["mean_loss"] = None

    def _directions(self, params: list[Tensor]) -> list[Tensor]:
        gradients = super()._directions(params)
        self._means = [self._with(*pair) for pair in zip(params, gradients, strict=True)]
        return [means.gradient for means in self._means]

    def _with(self, param: Tensor, gradient: Tensor) -> Means:
        """The averages including this gradient; the previous ones are kept until the step is known to be finite."""
        state, beta = self.state.get(param), self.param_groups[0]["beta"]
        product = inner(gradient, param)
        if not state:
            return Means(param, gradient.clone(), product)
        mean = torch.lerp(gradient, state["gradient"], beta)
        return Means(param, mean, beta * state["product"] + (1 - beta) * product)

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        self._batch.watching = False  # the batch loss is evaluated once, so modules need not be found
        before, beta = group["mean_loss"], group["beta"]
        loss = descent.loss0 if before is None else beta * before + (1 - beta) * descent.loss0
        model = loss + sum(float(inner(mean.gradient, mean.param) - mean.product) for mean in self._means)
        if not math.isfinite(model):
            return SearchResult(0.0, case=Case.NONFINITE)
        self._keep(group, loss)
        if descent.norm == 0:
            return SearchResult(0.0)
        polyak = max(model, 0.0) / descent.norm / descent.norm
        return SearchResult(min(polyak, group["lr"]) * descent.norm, clipped=polyak > group["lr"])

    def _keep(self, group: dict[str, Any], loss: float) -> None:
        group["mean_loss"] = loss
        for param, gradient, product in self._means:
            self.state[param].update({"gradient": gradient, "product": product})
        self._means = []


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product a.b, 0-dim, in float32 or a wider type."""
    return (a * b).sum(dtype=torch.promote_types(a.dtype, torch.float32))
