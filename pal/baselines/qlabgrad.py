"""QLABGrad: the learning rate from a quadratic fitted to one more loss along the gradient."""

from torch.optim.optimizer import ParamsT

from pal.baselines.base import POSITIVE, Descent, LineSearch, SearchResult
from pal.parabola import Case, minimise


class QLABGrad(LineSearch):
    r"""Quadratic loss approximation: L(theta - eta g) ~ L - eta ||g||² + eta² a, with a from L(theta - eta0 g).

    eta = eta0² ||g||² / (2 (L(theta - eta0 g) - L + eta0 ||g||²)), theta <- theta - eta g. The quadratic is that of
    PAL; only the probe differs, which is at a learning rate, that of the previous step, rather than at a distance.

    Args:
        params: parameters or parameter groups.
        lr: initial eta0, > 0.

    Source: Fu and Wu, AAAI 2024, arXiv:2302.00252. The update of eta0 is ours, as that of the paper was not
    available to us; so is keeping eta0 if the quadratic has no minimum.
    """

    def __init__(self, params: ParamsT, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr}, {"lr": POSITIVE})
        self.param_groups[0]["trial"] = lr

    def _search(self, descent: Descent) -> SearchResult:
        group = self.param_groups[0]
        probe = group["trial"] * descent.norm
        if probe == 0:
            return SearchResult(0.0)
        loss_probe = descent(probe)
        minimum = minimise(descent.loss0, loss_probe, -descent.norm, probe)
        step, case = float(minimum.step), Case(int(minimum.case))
        if case is Case.NONFINITE:
            group["trial"] = group["lr"]
        elif step > 0:
            group["trial"] = step / descent.norm
        return SearchResult(step, loss_probe, float(minimum.curvature), case)
