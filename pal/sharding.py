"""Weights that are sharded over processes as DTensors, as by FSDP2: each process moves its own shard."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from pal.parabola import Scalar


def local(tensor: Tensor) -> Tensor:
    """The shard held by this process; call it without gradients, so that the shard shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sharded_like(shard: Tensor, tensor: Tensor) -> Tensor:
    """A shard of this process as a DTensor that is placed like another tensor."""
    if not isinstance(tensor, DTensor):
        return shard
    return DTensor.from_local(
        shard,
        tensor.device_mesh,
        tensor.placements,
        shape=tensor.shape,
        stride=tensor.stride(),
        run_check=False,
    )


def placement(tensor: Tensor) -> Any:
    """The device mesh and placements of a tensor; None unless it is a DTensor."""
    return (tensor.device_mesh, tuple(tensor.placements)) if isinstance(tensor, DTensor) else None


def shard_groups(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups over which inner products of a tensor's shards add up.

    Raises:
        RuntimeError: if a placement is neither `Shard` nor `Replicate`.
    """
    if not isinstance(tensor, DTensor):
        return []
    groups: list[dist.ProcessGroup] = []
    for dimension, kind in enumerate(tensor.placements):
        if isinstance(kind, Shard):
            groups.append(tensor.device_mesh.get_group(dimension))
        elif not isinstance(kind, Replicate):
            raise RuntimeError(
                f"PAL supports weights that are sharded or replicated; got the placement {kind}"
            )
    return groups


def batch_groups(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups that share the batch of a sharded tensor: all dimensions of its mesh."""
    return [] if not isinstance(tensor, DTensor) else list(tensor.device_mesh.get_all_groups())


def all_reduce(
    numbers: Sequence[Scalar], groups: Sequence[dist.ProcessGroup], average: bool = False
) -> Sequence[Scalar]:
    """Sums, or means, of numbers over the processes of all groups, in one message per group."""
    groups = [group for group in groups if group.size() > 1]
    if not groups:
        return numbers
    first = next((number for number in numbers if isinstance(number, Tensor)), None)
    packed = (
        torch.tensor(cast(list[float], numbers), dtype=torch.float64)
        if first is None
        else torch.stack([n if isinstance(n, Tensor) else first.new_full((), n) for n in numbers])
    )
    for group in groups:
        dist.all_reduce(packed, group=group)
        if average:
            packed /= group.size()
    return packed.tolist() if first is None else packed.unbind()
