"""A table of all problems, made without loading any data."""

from functools import lru_cache

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments import models
from experiments.problems.registry import PROBLEMS

WIDEST = max(map(len, PROBLEMS))
NUMBERS = ("parameters", "FLOPs", "batch", "steps", "L2")


def table() -> Table:
    """Every problem; FLOPs are those of the forward pass of one example."""
    shown = Table(
        Column("problem: training / validation / test examples, source of each choice", min_width=WIDEST),
        *(Column(name, justify="right", no_wrap=True) for name in NUMBERS),
        caption="FLOPs: forward pass of one example, two for a multiply-add",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    for name, problem in PROBLEMS.items():
        parameters, flops = cost(problem.network, problem.data.shape, problem.data.outputs)
        examples = " / ".join(f"{count:,}" for count in problem.examples)
        shape = "x".join(map(str, problem.data.shape))
        numbers = (
            f"{parameters:,}",
            f"{flops:.3g}",
            str(problem.batch_size),
            f"{problem.steps:,}",
            f"{problem.l2:g}",
        )
        shown.add_row(Text(f"{name}\n{examples} of {shape}\n{problem.source}"), *numbers)
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
