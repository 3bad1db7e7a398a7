"""A table of all problems, made without loading any data."""

from functools import lru_cache

import torch
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments import models
from experiments.problems.registry import PROBLEMS

COLUMNS = ("problem", "train / validation / test", "shape", "parameters", "FLOPs", "batch", "steps", "L2")


def table() -> Table:
    """Every problem; FLOPs are those of the forward pass of one example."""
    shown = Table(title="Problems", caption="FLOPs: forward pass of one example, two for a multiply-add")
    for column in COLUMNS:
        shown.add_column(
            column, no_wrap=column == "problem", justify="left" if column == "problem" else "right"
        )
    shown.add_column("source of each choice", min_width=24)
    for name, problem in PROBLEMS.items():
        parameters, flops = cost(problem.network, problem.data.shape, problem.data.outputs)
        examples = " / ".join(f"{count:,}" for count in problem.examples)
        shape, numbers = "x".join(map(str, problem.data.shape)), (f"{parameters:,}", f"{flops:.3g}")
        choices = (str(problem.batch_size), f"{problem.steps:,}", f"{problem.l2:g}", problem.source)
        shown.add_row(name, examples, shape, *numbers, *choices)
    return shown


@lru_cache
def cost(network: str, shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
    """Numbers of parameters and of floating-point operations in a forward pass of one example, without computing it."""
    with torch.device("meta"):
        model = models.build(network, shape, outputs).eval()
        example = torch.zeros(1, *shape, dtype=torch.int64 if _embeds(model) else torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops()


def _embeds(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Embedding) for module in model.modules())
