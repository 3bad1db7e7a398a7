"""What all problems are, without loading any data."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments import models
from experiments.problems.registry import PROBLEMS


class Row(NamedTuple):
    """One problem: examples per split, shape of an example, size and cost of the network, and its choices."""

    problem: str
    examples: tuple[int, int, int]
    shape: tuple[int, ...]
    parameters: int
    flops: int
    batch_size: int
    steps: int
    l2: float
    source: str


def rows() -> Iterator[Row]:
    """A row for each problem."""
    for problem in PROBLEMS.values():
        parameters, flops = _cost(problem.network, problem.data.shape, problem.data.outputs)
        yield Row(
            problem.name,
            problem.examples,
            problem.data.shape,
            parameters,
            flops,
            problem.batch_size,
            problem.steps,
            problem.l2,
            problem.source,
        )


def table() -> Table:
    """The rows as a table; FLOPs are those of the forward pass of one example."""
    result = Table(title="Problems", caption="FLOPs: forward pass of one example, two for a multiply-add")
    result.add_column("problem", no_wrap=True)
    for name in ("train / validation / test", "shape", "parameters", "FLOPs", "batch", "steps", "L2"):
        result.add_column(name, justify="right")
    result.add_column("source of each choice", min_width=24)
    for row in rows():
        result.add_row(
            row.problem,
            " / ".join(f"{count:,}" for count in row.examples),
            "x".join(map(str, row.shape)),
            f"{row.parameters:,}",
            f"{row.flops:.3g}",
            str(row.batch_size),
            f"{row.steps:,}",
            f"{row.l2:g}",
            row.source,
        )
    return result


@lru_cache
def _cost(network: str, shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
    """Parameters, and floating-point operations of one example's forward pass; nothing is computed."""
    with torch.device("meta"):
        model = models.build(network, shape, outputs).eval()
        example = torch.zeros(1, *shape, dtype=torch.int64 if _embeds(model) else torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops()


def _embeds(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Embedding) for module in model.modules())
