"""The guide, docs/optimizer.md, as code to run, and its networks trained by hand, to compare with."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from by_hand import Loss, Step, by_hand
from torch import nn
from torch.nn.functional import cross_entropy

PATH = Path(__file__).resolve().parents[2] / "docs" / "optimizer.md"


def sections() -> dict[str, list[str]]:
    """The Python blocks of each section that has some, by its title."""
    _, *parts = re.split(r"^##+ ", PATH.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = {part.split("\n")[0]: re.findall(r"```python\n(.*?)```", part, re.DOTALL) for part in parts}
    return {title: blocks for title, blocks in code.items() if blocks}


def block(title: str, number: int, *changes: tuple[str, str]) -> str:
    """One block, with some of its text replaced."""
    code = sections()[title][number]
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    return code


def run(code: str, space: dict, seed: int = 0) -> dict:
    """Execute code of the guide in a namespace."""
    torch.manual_seed(seed)
    exec(compile(code, str(PATH), "exec"), space)
    return space


def beginning() -> dict:
    """The namespace after the first blocks: data, and `network`."""
    space = run(block("A training loop", 0), {"__name__": "guide"})
    return run(block("Gradient accumulation", 0), space)


def step_by_hand(model: nn.Module, loss: Loss) -> Step:
    """Take the step on a model; its buffers and the random generators are then as after one evaluation."""
    step = by_hand(model, loss)
    with torch.no_grad():
        loss(model)
        for param, weight in zip(model.parameters(), step.weights, strict=True):
            param.copy_(weight)
    return step


def on(*batch: torch.Tensor) -> Loss:
    """The loss of a batch as a function of the model."""
    return lambda model: cross_entropy(model(batch[0]), batch[1])


def in_order(batch_size: int, epochs: int) -> list[slice]:
    """Rows of the batches of the guide's 256 examples."""
    return [slice(start, start + batch_size) for start in range(0, 256, batch_size)] * epochs


def trained(space: dict, batches: Iterable[slice | list[int]], seed: int = 0) -> nn.Module:
    """A `network()` of the guide, trained by hand on rows of its data."""
    torch.manual_seed(seed)
    model = space["network"]()
    for rows in batches:
        step_by_hand(model, on(space["inputs"][rows], space["targets"][rows]))
    return model


def assert_same_weights(model: nn.Module, expected: nn.Module, tolerance: float = 1e-9) -> None:
    """All weights and buffers agree."""
    ours, right = model.state_dict(), expected.state_dict()
    assert list(ours) == list(right)
    for name, value in ours.items():
        torch.testing.assert_close(value, right[name], rtol=tolerance, atol=tolerance)
