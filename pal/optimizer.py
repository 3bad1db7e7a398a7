"""PAL: a direction, a line and a parabola."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.closure import BatchLoss, Closure
from pal.line import Line, LineRecord
from pal.parabola import minimise


class PAL(torch.optim.Optimizer):
    """Parabolic approximation line search (first version)."""

    def __init__(
        self, params: ParamsT, mu: float = 0.1, alpha: float = 1.0, beta: float = 0.0, s_max: float = 3.16,
        *, weight_decay: float = 0.0, maximize: bool = False, foreach: bool | None = None,
    ) -> None:  # fmt: skip
        if not mu > 0:
            raise ValueError(f"mu must be > 0, got {mu}")
        super().__init__(params, {"mu": mu, "alpha": alpha, "beta": beta, "s_max": s_max, "weight_decay": weight_decay})
        self.batch_loss = BatchLoss()
        self.line: LineRecord | None = None

    def step(self, closure: Closure) -> Tensor:  # pyright: ignore
        """One step."""
        group = self.param_groups[0]
        self.zero_grad()
        self.batch_loss.reset()
        loss0 = self.batch_loss.measure(closure)
        params = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        with torch.no_grad():
            buffers = []
            for p in params:
                state = self.state[p]
                m = state["direction"] = p.grad + group["beta"] * state.get("direction", torch.zeros_like(p))
                buffers.append(m)
            line = Line(params, [-m for m in buffers])
            slope = -sum(torch.sum(m * p.grad) for m, p in zip(buffers, params)).item() / line.norm
            line.move(group["mu"])
            loss_mu = self.batch_loss.again()
            minimum = minimise(loss0.item(), loss_mu.item(), slope, group["mu"], group["alpha"], group["s_max"])
            line.move(minimum.step)
        def t(value: Any) -> Tensor:
            return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)

        self.line = LineRecord(loss0, loss_mu, t(slope), t(minimum.curvature), t(minimum.step), t(line.norm),
                               t(int(minimum.case)), t(minimum.clipped), self.batch_loss.evaluations)
        return loss0
