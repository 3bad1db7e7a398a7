"""The instructions with which a process computes, fixed before torch loads so that all processors give the same bits.

Sums over eight numbers at a time are rounded differently from sums over sixteen. torch, oneDNN and MKL choose by the
processor, unless these variables, which they read when they are loaded, tell them to do without what is not everywhere.
"""

import os
import platform
from functools import cache
from pathlib import Path
from typing import Literal

Choice = Literal["portable", "native"]
"""Portable: AVX2, which x86-64 processors have had since 2015, or less where even that is missing. Native: all that the
processor has."""

WITH_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
WITHOUT = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem"}
BOTH = {"MKL_CBWR": "COMPATIBLE"}
"""MKL chooses by the processor's maker, too; this branch is the same on all of them."""

PREFIXES = ("ATEN_CPU_", "DNNL_", "KMP_", "MKL_", "NPY_", "ONEDNN_", "OPENBLAS_CORETYPE", "TORCH_MKLDNN_")
"""Variables of the caller's that must not change a result."""

OTHERS = ("GOMP_SPINCOUNT", "OMP_DYNAMIC", "OMP_SCHEDULE", "OMP_THREAD_LIMIT")
OTHERS += ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")


@cache
def portable() -> str:
    """What all processors like this one have: avx2 or sse4.1 on x86-64, elsewhere the architecture, such as arm64."""
    machine = platform.machine().lower()
    if machine not in ("x86_64", "amd64"):
        return machine
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # no Linux
        return "avx2"
    return "avx2" if {"avx2", "fma"} <= set(words) else "sse4.1"


def variables() -> dict[str, str]:
    """The variables of the portable set."""
    return {"avx2": WITH_AVX2 | BOTH, "sse4.1": WITHOUT | BOTH}.get(portable(), {})


def fix(choice: Choice = "portable") -> None:
    """Set the variables of a process that has not loaded torch, whatever its caller has set."""
    wanted = environment(choice)
    os.environ.update(wanted)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]


def environment(choice: Choice) -> dict[str, str]:
    """The variables of this process with those of a choice."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIXES) and name not in OTHERS
    }
    return kept if choice == "native" else kept | variables()


def is_fixed(choice: Choice) -> bool:
    """Whether the variables of this process are those of a choice."""
    wanted = {} if choice == "native" else variables()
    return all(os.environ.get(name) == wanted.get(name) for name in WITH_AVX2 | BOTH)
