"""SLS: stochastic line search with the Armijo condition."""

import math

from torch.optim.optimizer import ParamsT

from pal.baselines.base import COUNT, FRACTION, LIMIT, POSITIVE, Descent, LineSearch, Range, SearchResult

TRIES = 100
FALLBACK = 1e-6  # the step size if no evaluation succeeds
FLAT = 1e-8  # gradient norm below which the weights do not move
AT_LEAST_ONE: Range = (lambda value: 1 <= value < float("inf"), "a finite number >= 1")


class SLS(LineSearch):
    r"""Stochastic line search: backtrack until the Armijo condition holds for the batch loss.

    eta <- eta gamma^(1/n) once per step; then, while l(eta) > l(0) - c eta ||g||², eta <- beta_b eta; then
    theta <- theta - eta g.

    Args:
        params: parameters or parameter groups.
        n_batches_per_epoch: n, the number of steps over which eta may grow by gamma.
        init_step_size: initial eta, > 0; a learning rate, not a distance.
        c: constant of the Armijo condition, in (0, 1).
        beta_b: factor of eta per backtrack, in (0, 1).
        gamma: growth of eta per epoch, >= 1.
        max_step_size: maximum of eta, > 0; 10 in the port published with the paper. Default: none, as in SLS itself.

    Source: Vaswani et al., NeurIPS 2019, arXiv:1905.09997, algorithm 1 with reset option 1. If 100 evaluations fail,
    the step size is 1e-6 and the reduced eta remains, as in their implementation.
    """

    def __init__(
        self,
        params: ParamsT,
        n_batches_per_epoch: int = 500,
        init_step_size: float = 1.0,
        c: float = 0.1,
        beta_b: float = 0.9,
        gamma: float = 2.0,
        max_step_size: float | None = None,
    ) -> None:
        settings = {
            "n_batches_per_epoch": n_batches_per_epoch,
            "init_step_size": init_step_size,
            "c": c,
            "beta_b": beta_b,
            "gamma": gamma,
            "max_step_size": max_step_size,
        }
        ranges = {
            "n_batches_per_epoch": COUNT,
            "init_step_size": POSITIVE,
            "c": FRACTION,
            "beta_b": FRACTION,
            "gamma": AT_LEAST_ONE,
            "max_step_size": LIMIT,
        }
        super().__init__(params, settings, ranges)
        self.param_groups[0]["step_size"] = init_step_size

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        if descent.norm < FLAT:
            return SearchResult(0.0)
        eta = group["step_size"] * group["gamma"] ** (1 / group["n_batches_per_epoch"])
        cap = math.inf if group["max_step_size"] is None else group["max_step_size"]
        eta, clipped = min(eta, cap), eta > cap
        promise = group["c"] * descent.norm**2
        for _ in range(TRIES):
            if descent(eta * descent.norm) <= descent.loss0 - eta * promise:
                group["step_size"] = eta
                return SearchResult(eta * descent.norm, clipped=clipped)
            eta, clipped = eta * group["beta_b"], False
        group["step_size"] = eta
        return SearchResult(FALLBACK * descent.norm)
