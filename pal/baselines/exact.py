"""Exact line search on the batch loss, which PAL approximates."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import LIMIT, MOMENTUM, POSITIVE, Descent, LineSearch, SearchResult
from pal.parabola import Case
from pal.search import search


class ExactLineSearch(LineSearch):
    r"""Step to a minimum of the batch loss along the negative gradient.

    With beta > 0, the line is that of PAL with direction adaptation, d = -m with m <- beta m + g; m stays unchanged if
    the gradient is not finite. No step increases the batch loss. `pal.search` describes the search.

    Args:
        params: parameters or parameter groups.
        mu: the first distance to evaluate, > 0.
        beta: direction adaptation, in [0, 1).
        s_max: maximum step size, > 0. The paper's search takes at most 20 steps of length 1.

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

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        found = search(descent, descent.loss0, descent.slope, group["mu"], group["s_max"])
        case = Case.PARABOLA if found.distance > 0 else Case.ASCENDING
        return SearchResult(found.distance, case=case, clipped=found.distance == group["s_max"])
