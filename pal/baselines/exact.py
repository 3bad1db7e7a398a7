"""Exact line search on the batch loss: what PAL approximates."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import LIMIT, MOMENTUM, POSITIVE, Descent, Found, LineSearch
from pal.parabola import Case
from pal.search import search


class ExactLineSearch(LineSearch):
    r"""Go to a minimum of the batch loss along the negative gradient, wherever on the line it is.

    With beta > 0 the line is PAL's with direction adaptation, d = -m with m = beta m + g, and m stays as it is where a
    gradient is not finite. It never takes a step to a higher batch loss. See `pal.search` for how it is found.

    Args:
        params: parameters or parameter groups.
        mu: the first distance that is measured, > 0.
        beta: direction adaptation factor, >= 0 and < 1.
        s_max: the largest distance to go, > 0. The paper's search walked at most 20 steps of length 1.

    Source: the comparison with exact line searches in section 6 of Mutschler and Zell, NeurIPS 2020,
    arXiv:1903.11991; the search is ours.
    """

    def __init__(self, params: ParamsT, mu: float = 0.1, beta: float = 0.0, s_max: float = 20.0) -> None:
        settings = {"mu": mu, "beta": beta, "s_max": s_max}
        super().__init__(params, settings, {"mu": POSITIVE, "beta": MOMENTUM, "s_max": LIMIT})

    def _directions(self, params: list[Tensor]) -> list[Tensor]:
        gradients, beta = super()._directions(params), self.param_groups[0]["beta"]
        if not beta or not all(gradient.isfinite().all() for gradient in gradients):
            return gradients
        before = [self.state[param].get("direction", torch.zeros_like(param)) for param in params]
        return [beta * m + gradient for m, gradient in zip(before, gradients, strict=True)]

    def _move(self, descent: Descent, params: list[Tensor], distance: float) -> None:
        super()._move(descent, params, distance)
        if self.param_groups[0]["beta"]:
            for param, m in zip(params, descent.m, strict=True):
                self.state[param]["direction"] = m

    def _search(self, descent: Descent) -> Found:
        group = self.param_groups[0]
        found = search(descent, descent.loss0, descent.slope, group["mu"], group["s_max"])
        case = Case.PARABOLA if found.distance > 0 else Case.ASCENDING
        return Found(found.distance, case=case, clipped=found.distance == group["s_max"])
