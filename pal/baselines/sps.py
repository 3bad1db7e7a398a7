"""Stochastic Polyak step sizes, bounded by the previous one (SPS) or decreasing (DecSPS)."""

import math

from torch.optim.optimizer import ParamsT

from pal.baselines.base import COUNT, POSITIVE, Descent, LineSearch, SearchResult
from pal.baselines.sls import AT_LEAST_ONE, FLAT

EPS = 1e-8  # avoids division by zero


class SPS(LineSearch):
    r"""Stochastic Polyak step size, smoothed: eta <- min(l(0) / (c ||g||² + 1e-8), gamma^(1/n) eta).

    theta <- theta - eta g. It assumes that the minimal loss is about zero, and evaluates the batch loss once.

    Args:
        params: parameters or parameter groups.
        n_batches_per_epoch: n, the number of steps over which eta may grow by gamma.
        init_step_size: initial eta, > 0.
        c: divisor of the Polyak step size, > 0.
        gamma: growth of eta per epoch, >= 1.

    Source: Loizou et al., AISTATS 2021, arXiv:2002.10542: SPS_max with the smoothing of their experiments on
    networks. If the gradient vanishes or the loss is not positive, weights and eta stay unchanged; in their
    implementation, eta would become negative, or 0 for all further steps.
    """

    def __init__(
        self,
        params: ParamsT,
        n_batches_per_epoch: int = 500,
        init_step_size: float = 1.0,
        c: float = 0.5,
        gamma: float = 2.0,
    ) -> None:
        settings = {
            "n_batches_per_epoch": n_batches_per_epoch,
            "init_step_size": init_step_size,
            "c": c,
            "gamma": gamma,
        }
        ranges = {
            "n_batches_per_epoch": COUNT,
            "init_step_size": POSITIVE,
            "c": POSITIVE,
            "gamma": AT_LEAST_ONE,
        }
        super().__init__(params, settings, ranges)
        self.param_groups[0]["step_size"] = init_step_size

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        self._batch.watching = False  # the batch loss is evaluated once, so modules need not be found
        if descent.norm < FLAT or descent.loss0 <= 0:
            return SearchResult(0.0)
        polyak = descent.loss0 / (group["c"] * descent.norm * descent.norm + EPS)
        bound = group["step_size"] * group["gamma"] ** (1 / group["n_batches_per_epoch"])
        group["step_size"] = min(polyak, bound)
        return SearchResult(group["step_size"] * descent.norm, clipped=polyak > bound)


class DecSPS(LineSearch):
    r"""Decreasing stochastic Polyak step size: b <- min(l(0) / ||g||², b), theta <- theta - b / (c sqrt(k)) g.

    k = 1, 2, ... counts the steps; b starts at c max_step_size. It assumes that losses are not negative, and
    evaluates the batch loss once.

    Args:
        params: parameters or parameter groups.
        c: divisor of the Polyak step sizes, > 0.
        max_step_size: maximum of the first step size, > 0.

    Source: Orvieto, Lacoste-Julien and Loizou, NeurIPS 2022, arXiv:2205.04583, with 0 as the lower bound of the losses.
    Their implementation adds 1e-4 to each element of g before taking the norm; this one, like the paper, does not. If
    the gradient vanishes or the loss is not positive, weights and b stay unchanged.
    """

    def __init__(self, params: ParamsT, c: float = 1.0, max_step_size: float = 10.0) -> None:
        settings = {"c": c, "max_step_size": max_step_size}
        super().__init__(params, settings, {"c": POSITIVE, "max_step_size": POSITIVE})
        self.param_groups[0].update({"steps": 0, "bound": c * max_step_size})

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        self._batch.watching = False  # the batch loss is evaluated once, so modules need not be found
        group["steps"] += 1
        if descent.norm == 0 or descent.loss0 <= 0:
            return SearchResult(0.0)
        polyak = descent.loss0 / descent.norm / descent.norm
        clipped = polyak > group["bound"]
        group["bound"] = min(polyak, group["bound"])
        eta = group["bound"] / (group["c"] * math.sqrt(group["steps"]))
        return SearchResult(eta * descent.norm, clipped=clipped)
