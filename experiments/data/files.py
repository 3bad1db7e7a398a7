"""Data sets of one's own from a CSV or npz file, for an extension:

    DATASETS = {"wine": csv("wine.csv", target="quality", task="values")}

A relative path starts at the folder of the extension. 70 % of the examples are for training, 15 % for validation and
15 % for test, drawn with seed 0. Inputs are standardised with the means and deviations of the training examples: each
column of a table, each channel of images. Classes are numbered in sorted order.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.common import extensions
from experiments.common.errors import UserError, nearest
from experiments.data.checks import check_splits
from experiments.data.dataset import Dataset, Task
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Cast

HELD_OUT = 0.15
"""Fraction of the examples that are for validation, and for test."""

FEWEST = 10
"""Examples in a file, at least."""

UNREADABLE = (OSError, ValueError, AttributeError, TypeError, EOFError, BadZipFile, zlib.error)
"""What numpy raises for files that are no npz: a single array, an empty file, half of one, or one with other bytes."""

UNITS = 1e-3, 1e3
"""Standard deviations of real targets between which losses and gradients have usual sizes."""


def csv(
    path: str | Path, target: str | Sequence[str], task: Task, drop: str | Sequence[str] = ()
) -> Callable[[], Dataset]:
    """A data set from a CSV file with a header: the columns `target` from all others, which must be numbers.

    Args:
        path: The file.
        target: The column to predict; for real values, possibly several.
        task: "classes", "binary" (two values, 0 and 1 in sorted order) or "values".
        drop: The column or columns to leave out, such as a number of the row.

    Returns:
        A function that reads the file and returns the data set. It raises UserError for missing columns, text, missing
        values, and targets that do not suit the task.
    """
    file = _file(path)
    targets, left_out = ([names] if isinstance(names, str) else [*names] for names in (target, drop))

    @cache
    def dataset() -> Dataset:
        table = _table(file)
        if len(table) < FEWEST:  # without any, no column holds numbers
            raise UserError(f"{file} has {len(table)} examples; at least {FEWEST} are needed")
        for name in [*targets, *left_out]:
            if name not in table:
                raise UserError(f"{file} has no column {name!r}; {nearest(name, map(str, table))}")
        inputs = table.drop(columns=[*targets, *left_out])
        _require_numbers(file, inputs)
        return _dataset(file, inputs.to_numpy(np.float32), table[targets].to_numpy(), task)

    return dataset


def npz(path: str | Path, task: Task, inputs: str = "x", targets: str = "y") -> Callable[[], Dataset]:
    """A data set from an npz file with an array of inputs [examples, ...] and one of targets, one for each.

    Args:
        path: The file.
        task: "classes", "binary" or "values".
        inputs: Name of the array of inputs, numbers of any kind; images are [examples, channels, height, width].
        targets: Name of the array of targets.

    Returns:
        As `csv`.
    """
    file = _file(path)

    @cache
    def dataset() -> Dataset:
        x, y = _arrays(file, (inputs, targets))
        if x.dtype.kind not in "biuf" or x.ndim < 2:
            raise UserError(
                f"{file}: {inputs!r} has shape {list(x.shape)} and type {x.dtype}; inputs are numbers of shape "
                "[examples, ...]"
            )
        if y.ndim == 0 or y.size == 0:
            raise UserError(
                f"{file}: {targets!r} has shape {list(y.shape)}; there must be a target for each example"
            )
        if len(x) != len(y):
            raise UserError(
                f"{file}: {inputs!r} has {len(x)} rows, {targets!r} has {len(y)}; both must have as many"
            )
        return _dataset(file, x.astype(np.float32), y, task)

    return dataset


def _file(path: str | Path) -> Path:
    return extensions.folder() / Path(path).expanduser()


def _table(file: Path) -> pd.DataFrame:
    try:
        header = pd.read_csv(file, header=None, nrows=1, dtype=str).iloc[0].dropna()
        table = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as CSV: {' '.join(str(error).split())}") from None
    twice = header[header.duplicated()]  # pandas renames the second, and a target would be among the inputs
    if len(twice):
        raise UserError(f"{file} has the column {twice.iloc[0]!r} twice; each needs a name of its own")
    return table


def _arrays(file: Path, names: Sequence[str]) -> list[np.ndarray]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            for name in names:
                if name not in arrays:
                    raise UserError(f"{file} has no array {name!r}; {nearest(name, arrays)}")
            return [arrays[name] for name in names]
    except UNREADABLE as error:
        raise UserError(f"{file} cannot be read as npz: {' '.join(str(error).split())}") from None


def _require_numbers(file: Path, table: pd.DataFrame) -> None:
    for name in table:
        column = table[name]
        if not pd.api.types.is_numeric_dtype(column):
            first = next((one for one in column if not _is_number(one)), column.iloc[0])
            raise UserError(
                f"{file}: column {name!r} holds {first!r}, which is no number; encode it, for instance with "
                f"pandas.get_dummies, or leave it out with drop=[{name!r}]"
            )
        if column.isna().any():
            raise UserError(
                f"{file}: column {name!r} has missing values; fill them, or leave it out with drop=[{name!r}]"
            )
    if table.columns.empty:
        raise UserError(f"{file} has no columns besides the target; inputs are missing")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _dataset(file: Path, inputs: np.ndarray, targets: np.ndarray, task: str) -> Dataset:
    if task not in TARGETS:
        raise UserError(f"{file}: task is {task!r}; {nearest(task, TARGETS)}")
    if len(inputs) < FEWEST:
        raise UserError(f"{file} has {len(inputs)} examples; at least {FEWEST} are needed")
    y, outputs = TARGETS[task](file, targets)
    parts = _parts(len(inputs))
    splits = _splits(_standardised(torch.from_numpy(inputs), parts[0]), y, parts)
    found = Dataset(
        file.name,
        task,
        inputs.shape[1:],
        outputs,
        splits.sizes,
        Cast(torch.float32),
        lambda: splits,
        lambda: str(file),
    )
    check_splits(str(file), found, splits)
    return found


def _parts(count: int) -> list[Tensor]:
    """Indices of the training, validation and test examples."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(count))
    held_out = max(1, round(HELD_OUT * count))
    return [part.sort().values for part in order.split([count - 2 * held_out, held_out, held_out])]


def _splits(inputs: Tensor, targets: Tensor, parts: Sequence[Tensor]) -> Splits:
    return Splits(*(Split(inputs[part], targets[part]) for part in parts))


def _standardised(inputs: Tensor, train: Tensor) -> Tensor:
    """(x - mean) / deviation of the training examples, by column or channel; constants become 0."""
    others = [axis for axis in range(inputs.dim()) if axis != 1]
    double = inputs[train].double()
    mean, deviation = double.mean(others, keepdim=True), double.std(others, unbiased=False, keepdim=True)
    return ((inputs - mean) / torch.where(deviation > 0, deviation, 1.0)).float()


def _class_targets(file: Path, targets: np.ndarray) -> tuple[Tensor, int]:
    column = _column(file, targets)
    names, numbers = np.unique(column, return_inverse=True)
    if column.dtype.kind == "f" and len(names) > max(20, len(column) // 5):
        raise UserError(
            f"{file}: the target has {len(names)} different numbers; real values have task='values'"
        )
    return torch.from_numpy(numbers.astype(np.int64)), len(names)


def _binary_targets(file: Path, targets: np.ndarray) -> tuple[Tensor, int]:
    numbers, classes = _class_targets(file, targets)
    if classes != 2:
        raise UserError(
            f"{file}: the target has {classes} different values; with task='binary' there are two"
        )
    return numbers, 1


def _column(file: Path, targets: np.ndarray) -> np.ndarray:
    """One label for each example, without missing ones."""
    column = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if column.ndim != 1:
        raise UserError(
            f"{file}: the targets have shape {list(targets.shape)}; classes are one number or word each"
        )
    if pd.isna(column).any():
        raise UserError(f"{file}: the target has missing values; leave out these examples")
    return column.astype(str) if column.dtype == object else column


def _real_targets(file: Path, targets: np.ndarray) -> tuple[Tensor, int]:
    """Real values [examples, values], whatever their shape in the file."""
    if targets.dtype.kind not in "biuf":
        raise UserError(f"{file}: the target is {targets.flat[0]!r}, no number; classes have task='classes'")
    values = torch.from_numpy(targets.reshape(len(targets), -1).astype(np.float32))
    if not values.isfinite().all():
        raise UserError(f"{file}: the target has missing or infinite values; leave out these examples")
    deviation = float(values.std(0).max())
    if not UNITS[0] <= deviation <= UNITS[1]:
        raise UserError(
            f"{file}: the standard deviation of the target is {deviation:.3g}, and so are gradients; choose a unit in "
            f"which it is between {UNITS[0]:g} and {UNITS[1]:g}"
        )
    return values, values.shape[1]


TARGETS: dict[str, Any] = {"classes": _class_targets, "binary": _binary_targets, "values": _real_targets}
"""Targets as tensors, and the number of outputs, by task."""
