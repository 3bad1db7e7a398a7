"""LABPAL: a parabola fitted to the loss of many batches, whose minimum determines many steps."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import COUNT, LIMIT, POSITIVE, WHOLE, Descent, LineSearch, SearchResult
from pal.parabola import Case

Mode = Literal["nsgd", "sgd"]


class LABPAL(LineSearch):
    r"""Large-batch parabolic approximation: PAL on the sum of many batch losses, measured rarely.

    In each cycle, `batches` steps measure instead of moving the weights: with d = -g of the first of them, each adds
    its losses at 0, h and 2h along d/||d||. The parabola through the sums yields s = -alpha b / (2a), s <= s_max. The
    following `reuse` steps use the mean of the last `average` measured values, either as the distance s
    (nsgd) or as the learning rate s/||d|| (sgd). If a <= 0 or b >= 0, the previous value remains; the initial one is h.

    Args:
        params: parameters or parameter groups.
        mode: whether a measurement determines the distance ("nsgd") or the learning rate ("sgd").
        alpha: update step adaptation, > 0.
        h: distance between the three points, > 0.
        reuse: steps per cycle that use the measured values.
        batches: steps per cycle that measure.
        average: number of measured values to average.
        untrusted: number of initial steps whose measurements do not enter later means.
        s_max: upper bound of s, > 0.

    Source: Mutschler, Laube and Zell, 2021, arXiv:2108.13880. Increasing the batch size during training, as they do, is
    left to the caller.
    """

    def __init__(
        self,
        params: ParamsT,
        mode: Mode = "nsgd",
        alpha: float = 1.8,
        h: float = 0.01,
        reuse: int = 1000,
        batches: int = 10,
        average: int = 25,
        untrusted: int = 400,
        s_max: float = 1.0,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be 'nsgd' or 'sgd', got {mode!r}")
        settings: dict[str, Any] = {
            "mode": mode,
            "alpha": alpha,
            "h": h,
            "reuse": reuse,
            "batches": batches,
            "average": average,
            "untrusted": untrusted,
            "s_max": s_max,
        }
        counts = {"reuse": COUNT, "batches": COUNT, "average": COUNT, "untrusted": WHOLE}
        super().__init__(params, settings, {"alpha": POSITIVE, "h": POSITIVE, "s_max": LIMIT, **counts})
        start: dict[str, Any] = {
            "steps": 0,
            "measured": 0,
            "sums": [0.0, 0.0, 0.0],
            "values": [],
            "value": None,
        }
        self.param_groups[0].update(start)

    def _directions(self, params: list[Tensor]) -> list[Tensor]:
        gradients = super()._directions(params)
        group = self.param_groups[0]
        if not self._measures() or group["batches"] == 1:
            return gradients
        for param, gradient in zip(params, gradients, strict=True):
            if group["measured"] == 0:
                self.state[param]["direction"] = gradient.clone()
        return [self.state[param].get("direction", torch.zeros_like(param)) for param in params]

    def _measures(self) -> bool:
        group = self.param_groups[0]
        return group["steps"] % (group["reuse"] + group["batches"]) < group["batches"]

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        measures = self._measures()
        group["steps"] += 1
        if measures:
            return self._measure(descent)
        step = group["value"] * (1.0 if group["mode"] == "nsgd" else descent.norm)
        return SearchResult(step if descent.norm else 0.0)

    def _measure(self, descent: Descent) -> SearchResult:
        """Add the three losses of this batch; after the last batch, fit the parabola."""
        group = self.param_groups[0]
        losses = [descent.loss0, descent(group["h"]), descent(2 * group["h"])]
        group["sums"] = [total + loss for total, loss in zip(group["sums"], losses, strict=True)]
        group["measured"] += 1
        if group["measured"] < group["batches"]:
            return SearchResult(0.0, loss_mu=losses[1])
        first, middle, last = (total / group["batches"] for total in group["sums"])
        curvature, step, case = vertex(first, middle, last, group["h"])
        group["measured"], group["sums"] = 0, [0.0, 0.0, 0.0]
        reach = group["alpha"] * step
        self._keep(min(reach, group["s_max"]), descent.norm, case)
        return SearchResult(0.0, losses[1], curvature, case, clipped=reach > group["s_max"])

    def _keep(self, step: float, norm: float, case: Case) -> None:
        """Average a measured value with the previous ones."""
        group = self.param_groups[0]
        scale = norm if group["mode"] == "sgd" and norm > 0 else 1.0
        if case is not Case.PARABOLA:
            group["value"] = group["h"] / scale if group["value"] is None else group["value"]
            return
        values = [*group["values"], step / scale][-group["average"] :]
        group["value"] = sum(values) / len(values)
        if group["steps"] > group["untrusted"]:
            group["values"] = values


def vertex(loss0: float, loss1: float, loss2: float, h: float) -> tuple[float, float, Case]:
    """Curvature l'', position of the minimum, and case of the parabola through the losses at 0, h and 2h.

    >>> vertex(4.0, 1.0, 0.0, 1.0)
    (2.0, 2.0, <Case.PARABOLA: 0>)
    """
    curvature = (loss0 - 2 * loss1 + loss2) / h**2
    slope = (4 * loss1 - 3 * loss0 - loss2) / (2 * h)
    if not (math.isfinite(curvature) and math.isfinite(slope)):
        return curvature, 0.0, Case.NONFINITE
    if slope >= 0:
        return curvature, 0.0, Case.ASCENDING
    if curvature <= 0:
        return curvature, 0.0, Case.CONCAVE
    return curvature, -slope / curvature, Case.PARABOLA
