"""The data of the packs have the published counts, means and deviations."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from experiments import data
from experiments.data import mushrooms, tolstoi

pytestmark = pytest.mark.usefixtures("packs")


def moments(images):
    """Mean and deviation of each channel on a scale from 0 to 1, of all values."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    square = (counts * values**2).sum(1) / counts.sum(1)
    return mean.tolist(), (square - mean**2).sqrt().tolist()


@pytest.mark.parametrize(
    ("name", "per_class", "mean", "deviation", "tolerance"),
    [
        ("cifar10", 5_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 5e-5),
        # JPEG of quality 80 changes the last digits of the published values.
        ("cifar100", 500, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 5e-3),
        ("mnist", None, (0.1307,), (0.3081,), 5e-5),
    ],
)
def test_images(name, per_class, mean, deviation, tolerance):
    dataset = data.get(name)
    splits = dataset.load()
    assert splits.sizes == dataset.sizes
    whole = splits.without_validation().train
    assert whole.inputs.dtype == torch.uint8
    assert whole.inputs.shape[1:] == dataset.shape
    found_mean, found_deviation = moments(whole.inputs)
    assert found_mean == pytest.approx(mean, abs=tolerance)
    assert found_deviation == pytest.approx(deviation, abs=tolerance)
    if per_class is not None:
        assert torch.bincount(whole.targets).tolist() == [per_class] * dataset.outputs
        assert torch.bincount(splits.test.targets).tolist() == [per_class // 5] * dataset.outputs


def test_mnist_counts():
    # Digits 0 to 9 among the 60,000 training images (LeCun et al.).
    labels = data.get("mnist").load().without_validation().train.targets
    assert torch.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_provenance_is_visible():
    data.get("cifar100").load()
    assert "JPEG of quality 80" in data.get("cifar100").source()


def test_published_variants_read_the_same_arrays():
    plain, published = data.get("cifar100"), data.get("cifar100-published")
    assert torch.equal(plain.load().test.inputs, published.load().test.inputs)
    assert published.transform.mean == data.get("cifar10").transform.mean != plain.transform.mean
    assert published.transform.edge == "symmetric"


def test_tolstoi():
    splits = data.get("tolstoi").load()
    assert splits.sizes == data.get("tolstoi").sizes
    characters = tolstoi.STORE.arrays()["characters"]
    assert len(characters) == 3_266_185
    assert len(np.unique(characters)) == 83
    assert np.all(np.diff(np.bincount(characters)) <= 0)
    train = math.ceil(0.8 * len(characters))
    assert (train, len(characters) - train) == (2_612_948, 653_237)
    np.testing.assert_array_equal(splits.test.inputs.flatten()[:100], characters[train : train + 100])
    np.testing.assert_array_equal(
        splits.validation.inputs.flatten()[:100], characters[train - 653_237 :][:100]
    )


def test_tiny_imagenet():
    dataset = data.get("tinyimagenet20")
    splits = dataset.load()
    assert splits.sizes == dataset.sizes == (9_000, 1_000, 1_000)
    for split, per_class in ((splits.train, 450), (splits.validation, 50), (splits.test, 50)):
        assert torch.bincount(split.targets).tolist() == [per_class] * 20
        assert split.targets[:40].tolist() == [*range(20)] * 2
    assert splits.train.inputs.shape[1:] == (3, 64, 64)


def test_mushrooms():
    dataset = data.get("mushrooms")
    splits = dataset.load()
    assert splits.sizes == dataset.sizes
    assert splits.validation is splits.test
    attributes = mushrooms.STORE.arrays()["attributes"]
    assert attributes.shape == (8_124, 21)
    one_hot = np.concatenate([column[:, None] == np.unique(column) for column in attributes.T], axis=1)
    assert one_hot.shape[1] == 112  # as many features as LIBSVM's version has
    poisonous = torch.cat((splits.train.targets, splits.test.targets))
    assert torch.bincount(poisonous).tolist() == [4_208, 3_916]
    rows = torch.tensor([0, 1000, 6000])
    features = dataset.transform.plain(splits.train.take(rows)).numpy()
    expected = rbf_kernel(one_hot[rows].astype(float), one_hot[:6_499].astype(float), gamma=1 / (2 * 0.5**2))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-12)


def test_factorisation():
    splits = data.get("factorisation").load()
    assert splits.sizes == data.get("factorisation").sizes
    # y = A x exactly, with singular values that reach far down.
    matrix = torch.linalg.lstsq(splits.train.inputs, splits.train.targets).solution.T
    torch.testing.assert_close(splits.test.inputs @ matrix.T, splits.test.targets)
    assert matrix[-1].abs().max() < 1e-9 < matrix[0].abs().max()


def test_digits():
    splits = data.get("digits").load()
    assert splits.sizes == data.get("digits").sizes
    labels = torch.cat([split.targets for split in (splits.train, splits.validation, splits.test)])
    assert torch.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for split in (splits.validation, splits.test):
        assert torch.bincount(split.targets).min() >= 26
    assert moments(splits.train.inputs)[0][0] * 255 / 16 == pytest.approx(0.3049, abs=5e-5)
