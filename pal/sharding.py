"""Weights that are sharded over processes as DTensors, as by FSDP2: each process moves its own shard.

Importing torch.distributed.tensor takes seconds. No tensor is a DTensor before somebody else has imported it.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from pal.parabola import Scalar

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def as_sharded(tensor: Tensor) -> "DTensor | None":
    """The tensor if it is a DTensor."""
    kind = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return cast("DTensor", tensor) if kind is not None and isinstance(tensor, kind) else None


def local(tensor: Tensor) -> Tensor:
    """The shard held by this process; call it without gradients, so that the shard shares the tensor's memory."""
    sharded = as_sharded(tensor)
    return tensor if sharded is None else sharded.to_local()


def sharded_like(shard: Tensor, tensor: Tensor) -> Tensor:
    """A shard of this process as a DTensor that is placed like another tensor."""
    sharded = as_sharded(tensor)
    if sharded is None:
        return shard
    return type(sharded).from_local(
        shard,
        sharded.device_mesh,
        sharded.placements,
        shape=sharded.shape,
        stride=sharded.stride(),
        run_check=False,
    )


def placement(tensor: Tensor) -> Any:
    """The device mesh and placements of a tensor; None unless it is a DTensor."""
    sharded = as_sharded(tensor)
    return None if sharded is None else (sharded.device_mesh, tuple(sharded.placements))


def shard_groups(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups over which inner products of a tensor's shards add up.

    Raises:
        RuntimeError: if a placement is neither `Shard` nor `Replicate`.
    """
    sharded = as_sharded(tensor)
    if sharded is None:
        return []
    from torch.distributed.tensor import Replicate, Shard

    groups: list[dist.ProcessGroup] = []
    for dimension, kind in enumerate(sharded.placements):
        if isinstance(kind, Shard):
            groups.append(sharded.device_mesh.get_group(dimension))
        elif not isinstance(kind, Replicate):
            raise RuntimeError(
                f"PAL supports weights that are sharded or replicated; got the placement {kind}"
            )
    return groups


def batch_groups(tensor: Tensor) -> list[dist.ProcessGroup]:
    """The process groups that share the batch of a sharded tensor: all dimensions of its mesh."""
    sharded = as_sharded(tensor)
    return [] if sharded is None else list(sharded.device_mesh.get_all_groups())


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
