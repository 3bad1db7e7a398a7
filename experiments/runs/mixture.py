"""Runs whose numbers may stand in one table: made by the same kind of device and the same instructions.

What only the machine that executes a run knows is not in its key (`runs.key`), since a login node plans for others.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from experiments.common.errors import UserError
from experiments.runs.finished import FinishedRun
from experiments.runs.provenance import arithmetic
from experiments.training.config import RunConfig, device_of


def made_by(run: FinishedRun) -> str:
    """What computed a run: a model of GPU, or the instruction set of a CPU."""
    made = run.info["provenance"]
    name = arithmetic(made)
    return f"cpu ({made['instruction_set']})" if name == "cpu" else name


def require_one_kind(study: str, finished: Sequence[FinishedRun]) -> None:
    """Raises UserError if runs of one table were made by different devices."""
    kinds = Counter(map(made_by, finished))
    if len(kinds) > 1:
        each = ", ".join(f"{count} by {name}" for name, count in kinds.items())
        raise UserError(
            f"{study}: its runs differ in the device that made them ({each}), so they make no common table; with "
            "FORCE=1 all are made anew by one"
        )


def require_same_device(study: str, finished: Sequence[FinishedRun], left: Sequence[RunConfig]) -> None:
    """Raises UserError if this machine would make the runs that are left by another device than the finished ones."""
    before = {made_by(run) for run in finished if arithmetic(run.info["provenance"]) != "cpu"}
    on_cpu = len(before) < len({made_by(run) for run in finished})
    for config in left if finished else ():
        gpu = torch.cuda.get_device_name() if device_of(config).type == "cuda" else None
        if (gpu is not None and (on_cpu or before != {gpu})) or (gpu is None and before):
            there = ", ".join(sorted({made_by(run) for run in finished}))
            raise UserError(
                f"{study}: {len(finished)} finished runs were made by {there}, and this machine would make the other "
                f"{len(left)} by {gpu or 'its CPU'}, which no table may mix; "
                "CUDA_VISIBLE_DEVICES= uses the CPU even if there is a GPU, and FORCE=1 makes all runs anew"
            )
