"""Loss and accuracy for each kind of target."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Objective:
    """Mean loss of a batch, and its accuracy if that is defined."""

    loss: Callable[[Tensor, Tensor], Tensor]
    accuracy: Callable[[Tensor, Tensor], Tensor] | None


def _share_of_largest(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).double().mean()


def _character_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy per character of [B, T, V] against [B, T]."""
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _logistic_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of log(1 + exp(-y f)), where y = -1, 1 are given as targets 0, 1."""
    return functional.binary_cross_entropy_with_logits(outputs.squeeze(-1), targets.to(outputs.dtype))


def _share_of_sign(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs.squeeze(-1) > 0) == targets.bool()).double().mean()


def _squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over examples and values."""
    return functional.mse_loss(outputs, targets.to(outputs.dtype))


OBJECTIVES: dict[str, Objective] = {
    "classes": Objective(functional.cross_entropy, _share_of_largest),
    "characters": Objective(_character_loss, _share_of_largest),
    "binary": Objective(_logistic_loss, _share_of_sign),
    "values": Objective(_squared_loss, None),
}


def as_input_of(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Floating-point inputs in the dtype of the model's weights; characters unchanged."""
    return inputs.to(next(model.parameters()).dtype) if inputs.is_floating_point() else inputs
