"""Trajectories computed by the published implementations: how to compute their losses, and what came out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Published(NamedTuple):
    """One published trajectory; settings are named as the published implementation names them."""

    shapes: list[tuple[int, ...]]
    loss: Callable[[int, list[Tensor]], Tensor]
    settings: dict[str, Any]
    kept: list[int]
    theta: np.ndarray
    losses: np.ndarray
    rates: np.ndarray

    def start(self) -> list[Tensor]:
        """Fresh parameters where the trajectory begins."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = torch.from_numpy(self.theta[0]).clone().split(sizes)
        return [
            part.view(shape).clone().requires_grad_() for part, shape in zip(parts, self.shapes, strict=True)
        ]


def load(folder: Path, case: str) -> Published:
    with np.load(folder / "optimizer_trajectories.npz") as archive:
        meta = json.loads(str(archive["meta"]))[case]
        names = [name for name in archive.files if name.startswith(f"{case}/problem/")]
        given = {name.split("/")[-1]: torch.from_numpy(archive[name]) for name in names}
        theta, losses, rates = (archive[f"{case}/{name}"] for name in ("theta", "loss", "step"))
    shapes = [(16, 64), (16,), (10, 16), (10,)] if meta["problem"] == "mlp" else [(theta.shape[1],)]
    loss = LOSSES[meta["problem"]]
    return Published(
        shapes, lambda step, weights: loss(given, step, weights), meta["hyperparameters"], meta["theta_steps"],
        theta, losses, rates,
    )  # fmt: skip


def quadratic(given: dict[str, Tensor], _: int, weights: list[Tensor]) -> Tensor:
    (x,) = weights
    return x @ given["H"] @ x / 2 - given["c"] @ x


def cosine(given: dict[str, Tensor], _: int, weights: list[Tensor]) -> Tensor:
    (x,) = weights
    return (given["w"] * x).cos().sum() + 0.05 * x.square().sum()


def mlp(given: dict[str, Tensor], step: int, weights: list[Tensor]) -> Tensor:
    rows = given["batches"][step]
    hidden = torch.tanh(functional.linear(given["x"][rows], *weights[:2]))
    return functional.cross_entropy(functional.linear(hidden, *weights[2:]), given["y"][rows])


LOSSES = {"quadratic": quadratic, "cosine": cosine, "mlp": mlp}
