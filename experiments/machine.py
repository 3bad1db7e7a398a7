"""What this machine has to offer."""

import os
from pathlib import Path

import torch

CPUS = Path("/sys/devices/system/cpu")


def cores() -> int:
    """Physical CPU cores that this process may use; two hardware threads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_core(cpu) for cpu in os.sched_getaffinity(0)})


def slots() -> int:
    """Runs at a time: one per GPU, else one per core."""
    return torch.cuda.device_count() or cores()


def _core(cpu: int) -> tuple[str, ...]:
    topology = CPUS / f"cpu{cpu}" / "topology"
    try:
        return tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(cpu),)
