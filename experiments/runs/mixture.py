"""Which runs may be in one table: those executed on the same device with the same instruction set.

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
    """What executed a run: a model of GPU, or the instruction set of a CPU."""
    made = run.info["provenance"]
    name = arithmetic(made)
    return f"cpu ({made['instruction_set']})" if name == "cpu" else name


def require_one_kind(study: str, finished: Sequence[FinishedRun]) -> None:
    """Raises UserError if runs of one table were executed on different devices."""
    kinds = Counter(map(made_by, finished))
    if len(kinds) > 1:
        each = ", ".join(f"{count} on {name}" for name, count in kinds.items())
        raise UserError(
            f"{study}: its runs were executed on different devices ({each}), which must not be mixed in one table; "
            "FORCE=1 executes all of them again"
        )


def require_same_device(study: str, finished: Sequence[FinishedRun], left: Sequence[RunConfig]) -> None:
    """Raises UserError if this machine would execute the remaining runs on another device than the finished ones."""
    before = {made_by(run) for run in finished if arithmetic(run.info["provenance"]) != "cpu"}
    on_cpu = len(before) < len({made_by(run) for run in finished})
    for config in left if finished else ():
        gpu = torch.cuda.get_device_name() if device_of(config).type == "cuda" else None
        if (gpu is not None and (on_cpu or before != {gpu})) or (gpu is None and before):
            there = ", ".join(sorted({made_by(run) for run in finished}))
            raise UserError(
                f"{study}: {len(finished)} finished runs were executed on {there}, and this machine would execute the "
                f"other {len(left)} on {gpu or 'its CPU'}, which must not be mixed in one table; CUDA_VISIBLE_DEVICES= "
                "uses the CPU even if there is a GPU, and FORCE=1 executes all runs again"
            )
