"""Stochastic Polyak step sizes: bounded by the one before (SPS), or made to decrease (DecSPS)."""

import math

from torch.optim.optimizer import ParamsT

from pal.baselines.base import COUNT, POSITIVE, Descent, Found, LineSearch
from pal.baselines.sls import AT_LEAST_ONE, FLAT

EPS = 1e-8  # guards the division


class SPS(LineSearch):
    r"""Stochastic Polyak step size, smoothed: eta <- min(l(0) / (c ||g||² + 1e-8), gamma^(1/n) eta).

    theta <- theta - eta g. It assumes that the smallest loss is about zero; it looks at the loss of the batch once.

    Args:
        params: parameters or parameter groups.
        n_batches_per_epoch: n, steps over which eta may grow by gamma.
        init_step_size: eta before the first step, > 0.
        c: divides the Polyak step size, > 0.
        gamma: growth of eta per epoch, >= 1.

    Source: Loizou et al., AISTATS 2021, arXiv:2002.10542: SPS_max, its bound smoothed as in their experiments with
    networks. Where the gradient vanishes or the loss is not positive, nothing moves and eta stays; in their
    implementation eta would be 0 from then on, or negative.
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

    def _search(self, descent: Descent) -> Found:
        group = self.param_groups[0]
        self._batch.watching = False  # nothing is evaluated again
        if descent.norm < FLAT or descent.loss0 <= 0:
            return Found(0.0)
        polyak = descent.loss0 / (group["c"] * descent.norm * descent.norm + EPS)
        bound = group["step_size"] * group["gamma"] ** (1 / group["n_batches_per_epoch"])
        group["step_size"] = min(polyak, bound)
        return Found(group["step_size"] * descent.norm, clipped=polyak > bound)


class DecSPS(LineSearch):
    r"""Decreasing stochastic Polyak step size: b <- min(l(0) / ||g||², b), theta <- theta - b / (c sqrt(k)) g.

    k = 1, 2, ... counts the steps; b starts at c max_step_size. It assumes that no loss is below zero; it looks at the
    loss of the batch once.

    Args:
        params: parameters or parameter groups.
        c: divides the Polyak step sizes, > 0.
        max_step_size: cap of the first step size, > 0.

    Source: Orvieto, Lacoste-Julien and Loizou, NeurIPS 2022, arXiv:2205.04583, with 0 as lower bound of the losses.
    Their implementation adds 1e-4 to each element of g before it takes the norm; here, as in the paper, nothing is
    added. Where the gradient vanishes or the loss is not positive, nothing moves and b stays.
    """

    def __init__(self, params: ParamsT, c: float = 1.0, max_step_size: float = 10.0) -> None:
        settings = {"c": c, "max_step_size": max_step_size}
        super().__init__(params, settings, {"c": POSITIVE, "max_step_size": POSITIVE})
        self.param_groups[0].update({"steps": 0, "bound": c * max_step_size})

    def _search(self, descent: Descent) -> Found:
        group = self.param_groups[0]
        self._batch.watching = False  # nothing is evaluated again
        group["steps"] += 1
        if descent.norm == 0 or descent.loss0 <= 0:
            return Found(0.0)
        polyak = descent.loss0 / descent.norm / descent.norm
        clipped = polyak > group["bound"]
        group["bound"] = min(polyak, group["bound"])
        eta = group["bound"] / (group["c"] * math.sqrt(group["steps"]))
        return Found(eta * descent.norm, clipped=clipped)
