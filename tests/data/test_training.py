"""Every problem trains with PAL, from the packs."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments.problems import PROBLEMS
from pal import PAL

STEPS, BATCH = 20, 8
SMALL = ["digits-cnn", "digits-mlp", "mnist-cnn", "cifar10-resnet8", "cifar100-resnet32", "tolstoi-lstm"]
SMALL += ["cifar10-mobilenetv2-narrow-5k", "sls-factorisation-linear-rank4", "sls-mushrooms-linear"]
SMALL += ["sls-mnist-mlp-1000"]
WITHOUT_PACK = ("imagenet-", "tinyimagenet-")
LARGE = [name for name in list(PROBLEMS) if name not in SMALL and not name.startswith(WITHOUT_PACK)]


def train(name, splits=None, batch_size=BATCH):
    """Losses of 20 steps on one batch, with L2 as the problem has it, and the validation score.

    One batch and a short mu, so that the loss falls on every network, also where dropout makes it noisy.
    """
    problem = replace(PROBLEMS[name], batch_size=batch_size)
    splits = splits or problem.load()
    loader = problem.loader(splits.train, order_seed=1, augmentation_seed=2)
    model = problem.build(seed=3)
    optimizer = PAL(model.parameters(), mu=0.01)
    inputs, targets = loader.batch(0)

    def closure():
        penalty = sum(parameter.square().sum() for parameter in model.parameters())
        return problem.loss(model, inputs, targets) + problem.l2 / 2 * penalty

    losses = [optimizer.step(closure).item() for _ in range(STEPS)]
    return losses, problem.evaluate(model, splits.validation.part(slice(64)))


def check(losses, score):
    assert np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    assert np.isfinite(score.loss)


@pytest.mark.usefixtures("packs")
@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.large) for name in LARGE)])
def test_trains_with_pal(name):
    check(*train(name))


@pytest.mark.large
@pytest.mark.parametrize("network", ["resnet50", "densenet121"])
def test_imagenet_trains_with_pal(network, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(1000):
            place = tmp_path / "imagenet" / split / f"n{label:04}"
            place.mkdir(parents=True)
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / "a.JPEG")
    monkeypatch.setenv("PAL_DATA_MIRROR", str(tmp_path))
    problem = PROBLEMS[f"imagenet-{network}"]
    splits = problem.data.load()
    assert splits.sizes == (1000, 1000, 1000)
    losses, score = train(problem.name, splits, batch_size=2)
    assert np.isfinite([*losses, score.loss]).all()
