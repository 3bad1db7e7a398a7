"""PAL with one change each, for the study `ablation`. For training, use `pal.optimizer`."""

import math
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.optim.optimizer import ParamsT

from pal import kernels
from pal.closure import Autocast, Batch, BatchLoss, Closure
from pal.direction import Direction
from pal.optimizer import PAL
from pal.parabola import Case, Minimum, Scalar
from pal.state import RuntimeState


class CountedTwice(PAL):
    """PAL that updates batch-norm running statistics again at the probe, as in the published PyTorch release.

    Losses and steps are those of PAL; only the statistics for evaluation change. The check of the closure is off, since
    it would update them, too.
    """

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        super().__init__(params, **settings, check=False)

    def _batch_loss(self, modules: list[nn.Module]) -> BatchLoss:
        return CountedTwiceLoss(self._params, modules, check=False)


class CountedTwiceLoss(BatchLoss):
    """The loss of one step; each further evaluation updates the batch-norm running statistics."""

    def _reevaluate(self, batch: Batch) -> Tensor:
        layers = [module for module in batch.reached.modules if isinstance(module, _NormBase)]
        self._statistics = [buffer for layer in layers for buffer in layer.buffers()]
        self._counted = [buffer.clone() for buffer in self._statistics]
        loss = super()._reevaluate(batch)
        self._count()
        return loss

    def _evaluate(self, closure: Closure, autocast: tuple[Autocast, ...], evaluation: int) -> Any:
        if not evaluation:
            return super()._evaluate(closure, autocast, evaluation)
        self._count()
        loss = super()._evaluate(closure, autocast, evaluation)
        self._counted = [buffer.clone() for buffer in self._statistics]
        return loss

    def _count(self) -> None:
        """Set the running statistics to what all evaluations so far have made of them."""
        for buffer, value in zip(self._statistics, self._counted, strict=True):
            buffer.copy_(value)


class NewMasks(PAL):
    """PAL with new dropout masks at the probe, so that l(0) and l(mu) belong to different functions.

    The check of the closure is off, since it would detect exactly that.
    """

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        super().__init__(params, **settings, check=False)

    def _batch_loss(self, modules: list[nn.Module]) -> BatchLoss:
        return NewMasksLoss(self._params, modules, check=False)


class NewMasksLoss(BatchLoss):
    """The loss of one step, with different random numbers in the second evaluation.

    The first evaluations draw the same numbers as with PAL: the seed for the second is drawn where the first began, and
    afterwards the generators return to where the first left them.
    """

    def _evaluate(self, closure: Closure, autocast: tuple[Autocast, ...], evaluation: int) -> Any:
        if evaluation:
            torch.manual_seed(int(torch.randint(2**62, ())))
        return super()._evaluate(closure, autocast, evaluation)


class L2Beside(PAL):
    """PAL with the L2 term outside of the searched loss, applied as SGD with learning rate s/||d|| would.

    After the step, theta <- (1 - weight_decay s/||d||) theta.
    """

    def __init__(self, params: ParamsT, weight_decay: float, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._l2 = weight_decay

    def _search(self, direction: Direction) -> Tensor:
        loss = super()._search(direction)
        record = self.line
        if record is not None:
            moved = [param for param in self._params() if param.grad is not None]
            kernels.run([kernels.prepare_shrink(moved, self._l2 * record.learning_rate)], None)
        return loss


class Refusal(IntEnum):
    """Cases in addition to `pal.parabola.Case`: where the weights move when a step is refused.

    MEASURED: to the probe at mu. STAYED: nowhere.
    """

    MEASURED = 4
    STAYED = 5


class Safeguarded(PAL):
    """PAL that undoes a step that raises the batch loss.

    l(s) costs one more forward pass. If l(s) > l(0) or l(s) is not finite, the weights move to mu if l(mu) < l(0) and
    mu <= s_max, else they stay. This is the simplest decrease test; Armijo's would require l(s) <= l(0) + c s l'(0).
    """

    def _set_runtime(self, runtime: RuntimeState) -> None:
        super()._set_runtime(runtime)
        runtime.cases = runtime.counts() + [0] * (len(Case) + len(Refusal) - len(runtime.cases))

    @property
    def cases(self) -> dict[Any, int]:
        """How often each case or refusal occurred."""
        return dict(zip([*Case, *Refusal], self._runtime.counts(), strict=True))

    def _minimum(
        self, direction: Direction, loss0: Scalar, loss_mu: Scalar, slope: Scalar, mu: Scalar, s_max: Scalar
    ) -> Minimum:
        found = super()._minimum(direction, loss0, loss_mu, slope, mu, s_max)
        found = Minimum(float(found.step), float(found.curvature), int(found.case), bool(found.clipped))
        if found.step == 0 or self._loss_there(direction, found.step) <= loss0:
            return found
        measured = bool(loss_mu < loss0) and bool(mu <= s_max)
        refusal = Refusal.MEASURED if measured else Refusal.STAYED
        return found._replace(step=float(mu) if measured else 0.0, case=refusal, clipped=False)

    def _loss_there(self, direction: Direction, distance: Scalar) -> float:
        """The loss at a distance along the line; infinity if it is not finite."""
        (loss,) = self._mean(self._loss_at(direction, distance))
        return float(loss) if math.isfinite(loss) else math.inf
