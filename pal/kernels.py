"""The multi-tensor kernels of torch.optim: one call for many tensors. Private in torch, so kept in one place."""
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import torch
from torch import Tensor


def copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Each target <- its source."""
    torch._foreach_copy_(targets, sources)


def add_(targets: list[Tensor], others: list[Tensor], factor: float) -> None:
    """Each target <- target + factor other."""
    torch._foreach_add_(targets, others, alpha=factor)


def mul_(targets: list[Tensor], others: list[Tensor]) -> None:
    """Each target <- target * other."""
    torch._foreach_mul_(targets, others)


def descend_(
    params: list[Tensor], direction: list[Tensor], scale: float | Tensor, decay: float, still: Tensor | None
) -> None:
    """Each parameter <- parameter - scale (direction + decay parameter); nothing where `still` is 1.

    This is SGD's fused update without momentum; `found_inf` is what makes it leave parameters alone. Memory is taken as
    it lies: direction and parameter must have the same strides, without gaps.
    """
    torch._fused_sgd_(
        params,
        direction,
        [],
        lr=scale,
        weight_decay=decay,
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
        found_inf=still,
    )


def norms(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Euclidean norm of each row, [rows]."""
    return torch.linalg.vector_norm(rows, dim=1, dtype=dtype)


def norm(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """Euclidean norm of a vector, 0-dim."""
    return torch.linalg.vector_norm(numbers, dtype=dtype)
