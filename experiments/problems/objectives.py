"""Loss, accuracy and further metrics for each kind of target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.common.registry import Registry, instance_of

Metric = Callable[[Tensor, Tensor], Tensor | float]
"""A number from the outputs and targets of all examples of a split."""


@dataclass(frozen=True)
class Objective:
    """What is minimised, and what else is measured.

    Attributes:
        loss: Mean loss of a batch from outputs and targets, a tensor with one element.
        accuracy: Fraction of a batch that is right; None if that is not defined.
        metrics: Further measures by name, for validation and test data, such as a correlation; they select nothing.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    accuracy: Callable[[Tensor, Tensor], Tensor] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def checked_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss; raises UserError for shapes that would be broadcast, and unless it is one number.

        Outputs [B, 1] and targets [B] would be expanded to [B, B], which gives the loss of all pairs.
        """
        if (
            targets.is_floating_point()
            and outputs.shape != targets.shape
            and outputs.numel() == targets.numel()
        ):
            raise UserError(
                f"the targets of a batch have shape {list(targets.shape)}, the network's outputs "
                f"{list(outputs.shape)}, and the loss would be that of all pairs; give both the same shape, such as "
                "[examples, values]"
            )
        loss = self.loss(outputs, targets)
        if loss.numel() != 1:
            raise UserError(
                f"the loss of a batch has shape {list(loss.shape)}; it must be one number, such as a mean"
            )
        return loss


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
    if outputs.shape != targets.shape:
        raise UserError(
            f"the network's outputs have shape {list(outputs.shape)}, the targets {list(targets.shape)}; "
            "for real values they must be equal, [examples, values]"
        )
    return functional.mse_loss(outputs, targets.to(outputs.dtype))


OBJECTIVES = Registry(
    "objective",
    {
        "classes": Objective(functional.cross_entropy, _share_of_largest),
        "characters": Objective(_character_loss, _share_of_largest),
        "binary": Objective(_logistic_loss, _share_of_sign),
        "values": Objective(_squared_loss),
    },
    "OBJECTIVES",
    instance_of(Objective),
)
"""By the kind of target (`data.dataset.Task`); a problem may name another one."""


def as_input_of(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Floating-point inputs in the dtype of the model's weights; characters unchanged."""
    return inputs.to(next(model.parameters()).dtype) if inputs.is_floating_point() else inputs
