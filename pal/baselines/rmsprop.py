"""RMSProp as defined by TensorFlow 1, which the experiments of the paper used."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from pal.baselines.base import MOMENTUM, NOT_NEGATIVE, POSITIVE
from pal.baselines.plain import Plain


class RMSPropTF(Plain):
    r"""RMSProp with epsilon inside the square root, and mean squares initialised with 1.

    ms <- alpha ms + (1 - alpha) g², v <- rho v + lr g / sqrt(ms + eps), theta <- theta - v.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, >= 0.
        alpha: decay of the mean squares, in [0, 1).
        eps: added to the mean squares, > 0.
        momentum: rho, in [0, 1).

    Source: tf.compat.v1.train.RMSPropOptimizer.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, alpha: float = 0.9, eps: float = 1e-10, momentum: float = 0.0
    ) -> None:
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum}
        ranges = {"lr": NOT_NEGATIVE, "alpha": MOMENTUM, "eps": POSITIVE, "momentum": MOMENTUM}
        super().__init__(params, settings, ranges)

    def _update(self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]) -> None:
        for param, gradient in zip(params, gradients, strict=True):
            state = self.state[param]
            if not state:
                state["squares"], state["velocity"] = torch.ones_like(param), torch.zeros_like(param)
            squares = (
                state["squares"].mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
            )
            velocity = state["velocity"].mul_(group["momentum"])
            velocity.addcdiv_(gradient, (squares + group["eps"]).sqrt_(), value=group["lr"])
            param.sub_(velocity)
