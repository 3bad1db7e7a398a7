"""PAL with one thing changed, to see what it is good for. Not for training: `pal.optimizer` is the whole of it."""

import math
from enum import IntEnum
from typing import Any

import torch
from pal.modules import Modules
from torch import Tensor, nn

from pal.closure import BatchLoss, Closure
from pal.direction import Direction
from pal.optimizer import PAL


class Counted(Modules):
    """Modules whose norm layers count every forward pass."""

    def _hide(self, layer: nn.Module) -> None:
        """Leave the running statistics in sight of the second pass."""


class CountedTwice(PAL):
    """PAL whose probe updates the running statistics of norm layers again, as in the published PyTorch release.

    The losses, and so the steps, are PAL's own; only what evaluation normalises by changes.
    """

    def _start(self) -> None:
        super()._start()
        self._batch = CountedTwiceLoss()


class CountedTwiceLoss(BatchLoss):
    """The loss of one step, without care for norm layers."""

    def __init__(self) -> None:
        super().__init__()
        self._modules = Counted()


class NewMasks(PAL):
    """PAL that draws dropout masks anew at the probe: l(0) and l(mu) belong to two functions."""

    def _start(self) -> None:
        super()._start()
        self._batch = NewMasksLoss()


class NewMasksLoss(BatchLoss):
    """The loss of one step, with other random draws in the second evaluation.

    The first evaluations draw what PAL's do: the seed of the second is drawn where the first began, and the generators
    come back to where the first left them.
    """

    def _evaluate(self, closure: Closure, evaluation: int) -> Tensor:
        if evaluation:
            torch.manual_seed(int(torch.randint(2**62, ())))
        return super()._evaluate(closure, evaluation)


class Refusal(IntEnum):
    """Cases of a line beyond those of `pal.parabola.Case`: where the weights went instead of the step.

    MEASURED: to mu. STAYED: nowhere.
    """

    MEASURED = 4
    STAYED = 5


class Safeguarded(PAL):
    """PAL that takes back a step that raises the batch loss.

    l(s) costs one more forward pass. If l(s) > l(0) or l(s) is not finite, the weights go to mu if l(mu) < l(0) and
    mu <= s_max, else they stay. This is the simplest decrease test; Armijo's would ask for l(0) + c s l'(0), c > 0.
    """

    def _search(self, direction: Direction) -> tuple[Any, ...]:
        loss0, loss_mu, slope, curvature, step, norm, case, clipped = map(float, super()._search(direction))
        found = loss0, loss_mu, slope, curvature, step, norm
        if step == 0 or self._loss_here(direction, step) <= loss0:
            return *found, int(case), bool(clipped)
        factor = float(self.param_groups[0]["lr"])
        mu, s_max = (factor * self.param_groups[0][name] for name in ("mu", "s_max"))
        refusal = Refusal.MEASURED if loss_mu < loss0 and mu <= s_max else Refusal.STAYED
        reached = mu if refusal is Refusal.MEASURED else 0.0
        self._go_back(direction, reached / step)
        return *found[:4], reached, norm, int(refusal), False

    def _loss_here(self, direction: Direction, distance: float) -> float:
        """The line's loss where the weights are now; infinite if it is not finite."""
        (loss,) = self._mean(direction.loss(self._batch.again(), distance))
        return float(loss) if math.isfinite(loss) else math.inf

    def _go_back(self, direction: Direction, share: float) -> None:
        """To a share of the way that the step has gone; for 0 to its start, bit by bit."""
        params = [param for group in self.param_groups for param in group["params"] if param.grad is not None]
        gone = [param.clone() for param in params] if share else []
        direction.restore()
        for param, there in zip(params, gone, strict=False):
            param.lerp_(there, share)
