"""Smaller copies of finished runs: the losses of each step are rounded, everything else is exact.

The low bits of a loss are noise that no program can compress, and make up most of a run. Rounded to bfloat16 (8
significant bits, a relative error of at most 1/256), losses take a third of the room. info.json of a copy says so as
`thinned`.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from experiments.runs.integrity import seal

MARK = "thinned"
"""Name of the field of info.json."""


def thin(directory: Path, target: Path, exact: int) -> Path:
    """Write a thinned copy of a run directory; a copy of a copy is the same.

    Args:
        directory: The run.
        target: The new directory.
        exact: Number of first steps whose losses are not rounded.
    """
    shutil.copytree(directory, target)
    with np.load(directory / "trace.npz") as trace:
        arrays = {name: trace[name] for name in trace.files}
    np.savez(target / "trace.npz", **thinned(arrays, exact))  # pyright: ignore[reportArgumentType]
    info = json.loads((directory / "info.json").read_text())
    info[MARK] = f"losses after step {exact} are rounded to bfloat16"
    (target / "info.json").write_text(json.dumps(info, sort_keys=True, indent=2))
    seal(target)
    return target


def thinned(arrays: Mapping[str, np.ndarray], exact: int) -> dict[str, np.ndarray]:
    """The arrays of a trace, those with a loss per step rounded after the first `exact` steps."""
    return {
        name: _rounded(values, exact) if name.endswith("loss") and "/" not in name else values
        for name, values in arrays.items()
    }


def _rounded(values: np.ndarray, exact: int) -> np.ndarray:
    rounded = torch.from_numpy(values[exact:].copy()).bfloat16().to(torch.float32).numpy()
    return np.concatenate([values[:exact], rounded])
