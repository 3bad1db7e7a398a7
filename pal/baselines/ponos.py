"""PoNoS: a nonmonotone line search that starts at the Polyak step size."""

import math

from torch.optim.optimizer import ParamsT

from pal.baselines.base import FRACTION, LIMIT, POSITIVE, Descent, LineSearch, Range, SearchResult
from pal.baselines.sls import FALLBACK, FLAT, TRIES
from pal.parabola import Case

EPS = 1e-8  # avoids division by zero
UNIT_INTERVAL: Range = (lambda value: 0 <= value <= 1, "a number >= 0 and <= 1")


class PoNoS(LineSearch):
    r"""Polyak nonmonotone stochastic line search: backtrack from the Polyak step size until below the mean loss.

    eta = delta^m l(0) / (c_p ||g||² + 1e-8), between 1e-6 and max_step_size; then, while l(eta) > R - c eta ||g||²,
    eta <- delta eta; then theta <- theta - eta g. R = max(l(0), C) with C the mean of the batch losses so far, each
    weighted xi times as much as its successor. m predicts the number of backtracks: m <- max(m + backtracks - 1, 0).
    It assumes that the minimal loss is about zero.

    Args:
        params: parameters or parameter groups.
        c: constant of the Armijo condition, in (0, 1).
        c_p: divisor of the Polyak step size, > 0.
        delta: factor of eta per backtrack, in (0, 1).
        xi: decay of the mean C, in [0, 1]; 0 yields the monotone search.
        max_step_size: maximum of the first eta, > 0.

    Source: Galli, Rauhut and Schmidt, NeurIPS 2023, arXiv:2306.12747, with the nonmonotone condition of Zhang and Hager
    (2004). If 100 evaluations fail, the step size is 1e-6, as in their implementation; but if even the last loss is not
    finite, the weights do not move.
    """

    def __init__(
        self,
        params: ParamsT,
        c: float = 0.5,
        c_p: float = 0.1,
        delta: float = 0.5,
        xi: float = 1.0,
        max_step_size: float = 10.0,
    ) -> None:
        settings = {"c": c, "c_p": c_p, "delta": delta, "xi": xi, "max_step_size": max_step_size}
        ranges = {
            "c": FRACTION,
            "c_p": POSITIVE,
            "delta": FRACTION,
            "xi": UNIT_INTERVAL,
            "max_step_size": LIMIT,
        }
        super().__init__(params, settings, ranges)
        self.param_groups[0].update({"mean_loss": 0.0, "weight": 0.0, "backtracks": 0})

    def _search(self, descent: Descent) -> SearchResult:
        reference = max(self._average(descent.loss0), descent.loss0)
        if descent.norm < FLAT or descent.loss0 == 0:
            return SearchResult(0.0)
        group, square, loss = self.param_groups[0], descent.norm * descent.norm, math.nan
        eta, clipped = self._first(descent.loss0, square)
        for backtracks in range(TRIES):
            loss = descent(eta * descent.norm)
            if -math.inf < loss <= reference - group["c"] * eta * square:
                group["backtracks"] = max(group["backtracks"] + backtracks - 1, 0)
                return SearchResult(eta * descent.norm, clipped=clipped)
            eta, clipped = eta * group["delta"], False
        if not math.isfinite(loss):
            return SearchResult(0.0, case=Case.NONFINITE)
        group["backtracks"] += TRIES - 2
        return SearchResult(FALLBACK * descent.norm)

    def _average(self, loss0: float) -> float:
        """C, including this batch."""
        group = self.param_groups[0]
        before = group["xi"] * group["weight"]
        group["weight"] = before + 1
        group["mean_loss"] = (before * group["mean_loss"] + loss0) / group["weight"]
        return group["mean_loss"]

    def _first(self, loss0: float, square: float) -> tuple[float, bool]:
        """The first eta, and whether the maximum limited it."""
        group = self.param_groups[0]
        polyak = loss0 / (group["c_p"] * square + EPS) * group["delta"] ** group["backtracks"]
        return max(min(polyak, group["max_step_size"]), FALLBACK), polyak > group["max_step_size"]
