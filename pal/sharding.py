"""Weights that are dealt out to processes as DTensors, as FSDP2 does: each process moves its own part of them."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from pal.parabola import Scalar


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process has; called without gradients, so that it shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(part: Tensor, whole: Tensor) -> Tensor:
    """A part of this process as a tensor that is dealt out as another one is."""
    if not isinstance(whole, DTensor):
        return part
    return DTensor.from_local(
        part, whole.device_mesh, whole.placements, shape=whole.shape, stride=whole.stride(), run_check=False
    )


def dealt(tensor: Tensor) -> Any:
    """How a tensor is dealt out; None if it is whole."""
    return (tensor.device_mesh, tuple(tensor.placements)) if isinstance(tensor, DTensor) else None


def sharing(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups over which inner products of a tensor's parts add up.

    Raises:
        RuntimeError: if it is dealt out in another way than by shards and copies.
    """
    if not isinstance(tensor, DTensor):
        return []
    groups: list[dist.ProcessGroup] = []
    for dimension, placement in enumerate(tensor.placements):
        if isinstance(placement, Shard):
            groups.append(tensor.device_mesh.get_group(dimension))
        elif not isinstance(placement, Replicate):
            raise RuntimeError(
                f"PAL moves weights that are sharded or replicated; got the placement {placement}"
            )
    return groups


def batches(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups over which the batch is dealt out with a tensor: all of its mesh."""
    return [] if not isinstance(tensor, DTensor) else list(tensor.device_mesh.get_all_groups())


def summed(numbers: Sequence[Scalar], groups: Sequence[dist.ProcessGroup]) -> list[Scalar]:
    """Sums of numbers over the processes, in one message for each group."""
    if not groups:
        return list(numbers)
    on_host = not any(isinstance(number, Tensor) for number in numbers)
    packed = (
        torch.tensor(cast(list[float], numbers), dtype=torch.float64)
        if on_host
        else torch.stack([torch.as_tensor(number) for number in numbers])
    )
    for group in groups:
        dist.all_reduce(packed, group=group)
    return packed.tolist() if on_host else list(packed.unbind())
