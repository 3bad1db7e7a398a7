"""PAL with hooks: the base class of variants of one's own. With no hook replaced, its steps are PAL's bit by bit.

A step of PAL has four parts, each of which is one method here: the direction, the distance at which the line is
measured, its slope, and the rule for the step. Whatever a variant keeps from step to step in `self.state[param]` or in
attributes is part of a checkpoint (see `attributes`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.direction import Direction, Slope
from pal.optimizer import PAL
from pal.parabola import Case, Minimum, Scalar, minimise


class MeasuredLine(NamedTuple):
    """What is known of the line l(s) = loss(theta + s d/||d||) of a step.

    Attributes:
        loss0: l(0), with the L2 term if it is part of the loss.
        loss_mu: l(mu).
        slope: l'(0), loss per distance.
        mu: Distance at which the line was measured.
        alpha: PAL's hyper-parameter, by which the step to the minimum is multiplied.
        s_max: The largest step that is allowed, a distance.
        loss_at: Returns l(s) for one more forward pass.
    """

    loss0: float
    loss_mu: float
    slope: float
    mu: float
    alpha: float
    s_max: float
    loss_at: Callable[[float], float]


class PALVariant(PAL):
    """PAL whose parts can be replaced, one by one.

    Args:
        params: As for PAL.
        settings: As for PAL.
    """

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        super().__init__(params, **settings)

    def direction(self, param: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG002
        """What the weights of a parameter move against: by default its gradient.

        The result is g in m <- beta m + g, d = -m. The slope is computed with the true gradient.
        """
        return gradient

    def measuring_distance(self) -> float:
        """The distance at which the line is measured, > 0: by default mu.

        `self.line` is the record of the last step, or None before the first; it is part of a checkpoint, too.
        """
        return self.param_groups[0]["mu"]

    def slope(self, line: MeasuredLine) -> float:
        """The slope of the parabola: by default that of the line."""
        return line.slope

    def step_rule(self, line: MeasuredLine, parabola: Minimum) -> float:  # noqa: ARG002
        """The distance to move, of which at most s_max is taken: by default that to the minimum of the parabola.

        Not asked for if a loss or the slope is not finite: then the weights stay.
        """
        return float(parabola.step)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint; the first group also holds the record of the last step."""
        state, record = super().state_dict(), self._runtime.record
        if record is not None:
            state["param_groups"][0]["record"] = [float(each) for each in record]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the state of a checkpoint or a pickle."""
        super().__setstate__(state)
        record = self.param_groups[0].pop("record", None)
        if record is not None:
            *numbers, case, clipped, evaluations = record
            self._runtime.record = (*numbers, int(case), bool(clipped), int(evaluations))

    def _search(self, direction: Direction) -> Tensor:
        mu = float(self.measuring_distance())
        if not 0 < mu < math.inf:
            raise ValueError(
                f"measuring_distance of {type(self).__name__} returned {mu}; it must be a number > 0"
            )
        usual = [group["mu"] for group in self.param_groups]
        for group in self.param_groups:
            group["mu"] = mu
        try:
            return super()._search(direction)
        finally:
            for group, value in zip(self.param_groups, usual, strict=True):
                group["mu"] = value

    def _start(self, direction: Direction) -> Slope:
        if type(self).direction is PALVariant.direction:
            return super()._start(direction)
        group, active = self.param_groups[0], self._runtime.active
        if group["weight_decay"] and not group["decoupled_weight_decay"]:
            raise ValueError(
                "a direction of its own needs weight_decay 0: the L2 term belongs to the closure"
            )
        gradients = [param.grad for param in active if param.grad is not None]
        previous = [self.state[param].get("direction") if group["beta"] else None for param in active]
        chosen = [self.direction(param, gradient) for param, gradient in zip(active, gradients, strict=True)]
        along = [
            move if before is None else move + group["beta"] * before
            for move, before in zip(chosen, previous, strict=True)
        ]
        sign = -1.0 if group["maximize"] else 1.0
        product = sum(
            float(gradient.flatten().dot(m.flatten())) for gradient, m in zip(gradients, along, strict=True)
        )
        for param, move in zip(active, chosen, strict=True):
            param.grad = move
        try:
            norm, _ = super()._start(direction)
        finally:
            for param, gradient in zip(active, gradients, strict=True):
                param.grad = gradient
        return Slope(norm, direction.scalar(-sign * product / float(norm)) if float(norm) else 0.0)

    def _minimum(
        self, direction: Direction, loss0: Scalar, loss_mu: Scalar, slope: Scalar, mu: Scalar, s_max: Scalar
    ) -> Minimum:
        line = MeasuredLine(
            float(loss0),
            float(loss_mu),
            float(slope),
            float(mu),
            float(self.param_groups[0]["alpha"]),
            float(s_max),
            lambda distance: self._loss_there(direction, distance),
        )
        line = line._replace(slope=float(self.slope(line)))
        parabola = minimise(*line[:-1])
        if parabola.case == Case.NONFINITE:
            return parabola
        step = float(self.step_rule(line, parabola))
        if not math.isfinite(step):
            raise ValueError(
                f"step_rule of {type(self).__name__} returned {step}; it must be a finite distance"
            )
        clipped = bool(parabola.clipped) if step == parabola.step else step > line.s_max
        return parabola._replace(step=min(step, line.s_max), clipped=clipped)

    def _loss_there(self, direction: Direction, distance: float) -> float:
        with torch.no_grad():
            (loss,) = self._mean(self._loss_at(direction, distance))
        return float(loss)
