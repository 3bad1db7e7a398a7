"""Two small problems in float64, and what their authors' implementations of newer methods did on them.

`rivals.npz` holds the losses [steps], the step sizes [steps] and the last weights of each case in `CASES`. The numbers
come from PoNoS.py of github.com/leonardogalli91/PoNoS at bff32d0, sps/sps.py of github.com/IssamLaradji/sps at 108e256
and methods.py of github.com/aorvieto/DecSPS at 612bd75, there without the 1e-4 that is added to each element of the
gradient before its norm is taken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

STEPS = 60
FILE = Path(__file__).with_name("rivals.npz")


class Problem(NamedTuple):
    """A loss of the step number and the weights, and where to start."""

    loss: Callable[[int, list[Tensor]], Tensor]
    start: list[np.ndarray]

    def weights(self) -> list[Tensor]:
        """Fresh weights."""
        return [torch.from_numpy(array.copy()).requires_grad_() for array in self.start]


def least_squares() -> Problem:
    """Eight equations of 40 in each batch, badly scaled, which one solution satisfies all."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 6)) * np.geomspace(0.2, 3, 6)
    a, solution = torch.from_numpy(rows), torch.from_numpy(random.normal(size=6))
    batches = torch.from_numpy(random.integers(40, size=(STEPS, 8)))

    def loss(step: int, weights: list[Tensor]) -> Tensor:
        return (a[batches[step]] @ (weights[0] - solution)).square().mean() / 2

    return Problem(loss, [random.normal(size=6)])


def classification() -> Problem:
    """A network of one hidden layer on batches of 10 of 40 points in three classes that no network can tell apart."""
    random = np.random.default_rng(1)
    x, y = torch.from_numpy(random.normal(size=(40, 5))), torch.from_numpy(random.integers(3, size=40))
    batches = torch.from_numpy(random.integers(40, size=(STEPS, 10)))

    def loss(step: int, weights: list[Tensor]) -> Tensor:
        rows = batches[step]
        hidden = torch.tanh(functional.linear(x[rows], *weights[:2]))
        return functional.cross_entropy(functional.linear(hidden, *weights[2:]), y[rows])

    return Problem(loss, [random.normal(size=shape) for shape in ((6, 5), (6,), (3, 6), (3,))])


PROBLEMS = {"least-squares": least_squares, "classification": classification}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ponos-squares": ("ponos", "least-squares", {}),
    "ponos-classes": ("ponos", "classification", {}),
    "ponos-strict": ("ponos", "classification", {"c": 0.9, "c_p": 0.05, "delta": 0.8, "xi": 0.3}),
    "ponos-capped": ("ponos", "classification", {"max_step_size": 0.5}),
    "sps-squares": ("sps", "least-squares", {"n_batches_per_epoch": 5}),
    "sps-classes": ("sps", "classification", {"n_batches_per_epoch": 20}),
    "sps-careful": ("sps", "classification", {"init_step_size": 0.1, "c": 2.0, "gamma": 1e9}),
    "decsps-squares": ("decsps", "least-squares", {}),
    "decsps-classes": ("decsps", "classification", {"c": 0.5, "max_step_size": 100.0}),
    "decsps-capped": ("decsps", "classification", {"c": 0.8, "max_step_size": 0.5}),
}
"""Optimizer, problem and settings of each case."""
