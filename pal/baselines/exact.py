"""Exact line search on the batch loss: what PAL approximates."""

from torch.optim.optimizer import ParamsT

from pal.baselines.base import LIMIT, POSITIVE, Descent, Found, LineSearch
from pal.parabola import Case
from pal.search import search


class ExactLineSearch(LineSearch):
    r"""Go to a minimum of the batch loss along the negative gradient, wherever on the line it is.

    It never takes a step to a higher batch loss. See `pal.search` for how it is found.

    Args:
        params: parameters or parameter groups.
        mu: the first distance that is measured, > 0.
        s_max: the largest distance to go, > 0. The paper's search walked at most 20 steps of length 1.

    Source: the comparison with exact line searches in section 6 of Mutschler and Zell, NeurIPS 2020,
    arXiv:1903.11991; the search is ours.
    """

    def __init__(self, params: ParamsT, mu: float = 0.1, s_max: float = 20.0) -> None:
        super().__init__(params, {"mu": mu, "s_max": s_max}, {"mu": POSITIVE, "s_max": LIMIT})

    def _search(self, descent: Descent) -> Found:
        group = self.param_groups[0]
        found = search(descent, descent.loss0, -descent.norm, group["mu"], group["s_max"])
        case = Case.PARABOLA if found.distance > 0 else Case.ASCENDING
        return Found(found.distance, case=case, clipped=found.distance == group["s_max"])
