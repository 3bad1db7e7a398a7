"""PAL and its slow reference against what the authors' implementation computed."""

import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from pal import PAL
from pal.reference import reference_step

CASES = [
    "pal-quadratic",
    "pal-quadratic-conjugate",
    "pal-mlp-plain",
    "pal-mlp-default",
    "pal-mlp-clipped",
    "pal-cosine-nonconvex",
    "pal-cosine-ascending",
]


class Published(NamedTuple):
    """One published trajectory: how to compute its losses, and what came out."""

    shapes: list[tuple[int, ...]]
    loss: Callable[[int, list[Tensor]], Tensor]
    settings: dict[str, float]
    kept: list[int]
    theta: np.ndarray
    losses: np.ndarray
    rates: np.ndarray


def split(theta: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]


@pytest.fixture(params=CASES)
def published(request, reference_dir) -> Published:
    case = request.param
    with np.load(reference_dir / "optimizer_trajectories.npz") as archive:
        meta = json.loads(str(archive["meta"]))[case]
        given = {
            name.split("/")[-1]: torch.from_numpy(archive[name])
            for name in archive.files
            if name.startswith(f"{case}/problem/")
        }
        theta, losses, rates = (archive[f"{case}/{name}"] for name in ("theta", "loss", "step"))
    names = {"measuring_step_size": "mu", "max_step_size": "s_max", "direction_adaptation_factor": "beta",
             "update_step_adaptation": "alpha"}  # fmt: skip
    settings = {names[name]: value for name, value in meta["hyperparameters"].items()}

    def quadratic(_: int, weights: list[Tensor]) -> Tensor:
        (x,) = weights
        return x @ given["H"] @ x / 2 - given["c"] @ x

    def cosine(_: int, weights: list[Tensor]) -> Tensor:
        (x,) = weights
        return (given["w"] * x).cos().sum() + 0.05 * x.square().sum()

    def mlp(step: int, weights: list[Tensor]) -> Tensor:
        rows = given["batches"][step]
        hidden = torch.tanh(torch.nn.functional.linear(given["x"][rows], *weights[:2]))
        return torch.nn.functional.cross_entropy(
            torch.nn.functional.linear(hidden, *weights[2:]), given["y"][rows]
        )

    loss = {"quadratic": quadratic, "cosine": cosine, "mlp": mlp}[meta["problem"]]
    shapes = [(16, 64), (16,), (10, 16), (10,)] if meta["problem"] == "mlp" else [(theta.shape[1],)]
    return Published(shapes, loss, settings, meta["theta_steps"], theta, losses, rates)


def assert_follows(
    published: Published, theta: list[Tensor], losses: list[float], rates: list[float]
) -> None:
    for ours, theirs in ((theta, published.theta), (losses, published.losses), (rates, published.rates)):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("foreach", [True, False])
def test_optimizer_follows_the_published_trajectories(published, foreach):
    start = split(torch.from_numpy(published.theta[0]).clone(), published.shapes)
    weights = [part.clone().requires_grad_() for part in start]
    optimizer = PAL(weights, **published.settings, foreach=foreach)
    kept, losses, rates = [published.theta[0]], [], []
    for step in range(len(published.losses)):
        losses.append(optimizer.step(lambda step=step: published.loss(step, weights)).item())
        rates.append(optimizer.line.learning_rate.item())
        if step + 1 in published.kept:
            kept.append(torch.cat([weight.detach().flatten() for weight in weights]).numpy())
    assert_follows(published, kept, losses, rates)


def test_reference_follows_the_published_trajectories(published):
    theta = torch.from_numpy(published.theta[0])
    buffer = torch.zeros_like(theta)
    kept, losses, rates = [theta.numpy()], [], []
    for step in range(len(published.losses)):
        result = reference_step(
            lambda flat, step=step: published.loss(step, split(flat, published.shapes)),
            theta, buffer, **published.settings,
        )  # fmt: skip
        theta, buffer = result.theta, result.buffer
        losses.append(result.loss0)
        rates.append(result.step / result.norm)
        if step + 1 in published.kept:
            kept.append(theta.numpy())
    assert_follows(published, kept, losses, rates)
