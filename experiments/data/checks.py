"""Whether the arrays of a data set are what its description says: shapes, types and numbers."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.common.check import Check
from experiments.common.errors import UserError
from experiments.data.splits import Split, Splits

if TYPE_CHECKING:
    from experiments.data.dataset import Dataset


def check_splits(name: str, data: "Dataset", splits: Splits) -> None:
    """Raise UserError, one sentence, for the first thing that is wrong."""
    wrong = next(_mistakes(data, splits), None)
    if wrong is not None:
        raise UserError(f"data set {name!r}: {wrong}")


def _mistakes(data: "Dataset", splits: Splits) -> Iterator[str]:
    if splits.sizes != data.sizes:
        yield f"its parts have {splits.sizes} examples, but `sizes` says {data.sizes}"
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    for part, split in parts.items():
        yield from (f"the {part} {mistake}" for mistake in _of_split(data, split))


def _of_split(data: "Dataset", split: Split) -> Iterator[str]:
    if len(split) == 0:
        yield "part is empty; it needs at least one example"
        return
    inputs, targets = split.inputs, split.targets
    if isinstance(inputs, Tensor):
        if len(inputs) != len(targets):
            yield f"inputs are {len(inputs)}, the targets {len(targets)}; there must be one target for each"
        seen = tuple(data.transform.plain(inputs[:1]).shape[1:])
        if seen != data.shape:
            yield f"inputs have shape {list(seen)}, but `shape` says {list(data.shape)}"
        if inputs.is_floating_point() and not inputs.isfinite().all():
            yield "inputs hold NaN or infinity; remove or replace these values"
    yield from (f"targets {mistake}" for mistake in TARGETS.get(data.task, _of_any)(data, targets))


def _of_classes(data: "Dataset", targets: Tensor) -> Iterator[str]:
    if targets.dtype != torch.int64 or targets.dim() != 1:
        yield f"have shape {list(targets.shape)} and type {targets.dtype}; classes are int64 of shape [examples]"
    elif not 0 <= int(targets.min()) <= int(targets.max()) < data.outputs:
        yield (
            f"are between {int(targets.min())} and {int(targets.max())}; "
            f"with {data.outputs} classes they must be 0 to {data.outputs - 1}"
        )


def _of_binary(data: "Dataset", targets: Tensor) -> Iterator[str]:
    if targets.is_floating_point() or targets.dim() != 1 or data.outputs != 1:
        yield (
            f"have shape {list(targets.shape)} and type {targets.dtype}, `outputs` is {data.outputs}; binary labels "
            "are integers of shape [examples], and `outputs` is 1"
        )
    elif not bool(((targets == 0) | (targets == 1)).all()):
        yield "are not all 0 or 1, as binary labels must be"


def _of_values(data: "Dataset", targets: Tensor) -> Iterator[str]:
    wanted = (len(targets), data.outputs)
    if not targets.is_floating_point() or targets.shape != wanted:
        yield (
            f"have shape {list(targets.shape)} and type {targets.dtype}; real values are floating-point numbers of "
            f"shape {list(wanted)}, [examples, values]"
        )
    else:
        yield from _of_any(data, targets)


def _of_any(data: "Dataset", targets: Tensor) -> Iterator[str]:  # noqa: ARG001
    if targets.is_floating_point() and not targets.isfinite().all():
        yield "hold NaN or infinity; remove or replace these values"


TARGETS = {
    "classes": _of_classes,
    "binary": _of_binary,
    "values": _of_values,
}
"""Checks by kind of target."""


def report(name: str, data: "Dataset") -> list[Check]:
    """What the data are: sizes, inputs as the network sees them, targets, and examples that are in two parts."""
    try:
        splits = data.load()
        check_splits(name, data, splits)
    except UserError as error:
        return [Check("load", False, str(error))]
    found = [
        Check("load", True, f"{' / '.join(map(str, splits.sizes))} examples for training, validation, test")
    ]
    if isinstance(splits.train.inputs, Tensor):
        found += [_inputs(data, splits.train), _shared(splits)]
    return [*found, _targets(data, splits.train)]


SAMPLE = 4096
"""Examples by which scale and overlap are judged."""

USUAL = 0.05, 20.0
"""Standard deviations of inputs with which networks train as they are initialised."""


def _inputs(data: "Dataset", split: Split) -> Check:
    seen = data.transform.plain(split.take(torch.arange(min(SAMPLE, len(split))))).double()
    mean, deviation = float(seen.mean()), float(seen.std())
    usual = data.task == "characters" or (USUAL[0] <= deviation <= USUAL[1] and abs(mean) <= USUAL[1])
    words = f"shape {list(data.shape)}, mean {mean:.3g}, standard deviation {deviation:.3g}"
    return Check("inputs", usual, words if usual else f"{words}; scale them to about 0 and 1")


def _shared(splits: Splits) -> Check:
    """Examples that are both in the training data and elsewhere make results look better than they are."""
    others = [splits.test] if splits.validation is splits.test else [splits.validation, splits.test]
    train = set(_rows([splits.train]))
    shared = sum(row in train for row in _rows(others))
    return Check(
        "overlap", not shared, f"{shared} of {SAMPLE} examples at most per part are in the training data, too"
    )


def _rows(splits: Sequence[Split]) -> Iterator[bytes]:
    for split in splits:
        inputs = split.inputs
        assert isinstance(inputs, Tensor)
        yield from (each.numpy().tobytes() for each in inputs[:SAMPLE])


def _targets(data: "Dataset", split: Split) -> Check:
    targets = split.targets
    if data.task in ("classes", "binary"):
        counts = torch.bincount(targets, minlength=max(2, data.outputs))
        rarest, largest = int(counts.min()), float(counts.max() / counts.sum())
        words = f"{len(counts)} classes, the rarest with {rarest} examples; always the largest: accuracy {largest:.3g}"
        return Check("targets", rarest > 0, words)
    if data.task == "values":
        variance = float(targets.double().var(0, unbiased=False).mean())
        return Check("targets", variance > 0, f"always the mean: squared error {variance:.3g}")
    return Check("targets", True, f"shape {list(targets.shape)}, type {targets.dtype}")
