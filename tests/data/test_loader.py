"""Batches: drawn without replacement, a pure function of the step, augmented as written on the tin."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from experiments.common.errors import UserError
from experiments.data.loader import Loader
from experiments.data.splits import Split, held_out
from experiments.data.transforms import Cast, Pixels

PIXELS = Pixels(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.3, 0.4))


def numbered(count):
    return Split(torch.arange(count)[:, None], torch.arange(count))


def loader_of(count, batch_size, *, order=1, augmentation=2, shuffle=True):
    return Loader(
        numbered(count), batch_size, Cast(torch.int64), order, augmentation, augment=False, shuffle=shuffle
    )


def targets(loader, steps):
    return torch.cat([loader.batch(step)[1] for step in steps])


def images(count=40, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.arange(count))


@given(st.data(), st.integers(1, 60), st.integers(0, 9))
def test_every_epoch_draws_every_example_once(data, count, seed):
    batch_size = data.draw(st.integers(1, count))
    loader = loader_of(count, batch_size, order=seed)
    drawn = targets(loader, range(3 * loader.steps_per_epoch + 1))
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_steps_per_epoch_of_the_paper():
    assert loader_of(45_000, 128).steps_per_epoch == 352


@given(st.permutations(range(9)))
def test_batch_is_a_function_of_the_step_alone(order):
    """So that a resumed loader sees the batches that it would have seen."""
    split = images()
    fresh = [Loader(split, 16, PIXELS, 3, 4, augment=True).batch(step) for step in range(9)]
    loader = Loader(split, 16, PIXELS, 3, 4, augment=True)
    for step in order:
        assert all(map(torch.equal, loader.batch(step), fresh[step]))


def test_epochs_give_different_orders():
    loader = loader_of(64, 64)
    assert not torch.equal(loader.batch(0)[1], loader.batch(1)[1])


def test_without_shuffling_batches_shift_from_epoch_to_epoch():
    drawn = targets(loader_of(10, 4, shuffle=False), range(5))
    assert drawn.tolist() == [*range(10), *range(10)]


def test_order_and_augmentation_are_independent():
    split = images()
    base = Loader(split, 16, PIXELS, 3, 4, augment=True)
    other_order = Loader(split, 16, PIXELS, 5, 4, augment=True)
    other_augmentation = Loader(split, 16, PIXELS, 3, 6, augment=True)
    assert not torch.equal(base.batch(0)[1], other_order.batch(0)[1])
    assert torch.equal(base.batch(0)[1], other_augmentation.batch(0)[1])
    assert not torch.equal(base.batch(0)[0], other_augmentation.batch(0)[0])


@pytest.mark.parametrize("batch_size", [0, 21])
def test_batch_size_must_fit(batch_size):
    with pytest.raises(UserError, match=rf"batch_size is {batch_size}; allowed are 1 to 20"):
        loader_of(20, batch_size)


@pytest.mark.parametrize("edge", ["reflect", "symmetric"])
@given(st.integers(0, 1000))
def test_augmentation_is_pad_crop_flip(edge, seed):
    raw = images(count=6, seed=seed).inputs
    transform = Pixels(PIXELS.mean, PIXELS.deviation, padding=3, edge=edge)
    draws = transform.draw(np.random.default_rng(seed), 6)
    augmented = transform.augmented(raw, torch.from_numpy(draws))
    for image, result, draw in zip(raw.numpy(), augmented, draws.tolist(), strict=True):
        row, column, flip = draw // 14, draw // 2 % 7, draw % 2
        padded = np.pad(image, ((0, 0), (3, 3), (3, 3)), mode=edge)
        crop = padded[:, row : row + 8, column : column + 8]
        crop = crop[:, :, ::-1] if flip else crop
        mean, deviation = (np.reshape(values, (3, 1, 1)) for values in (PIXELS.mean, PIXELS.deviation))
        expected = (crop / 255 - mean) / deviation
        np.testing.assert_allclose(result.numpy(), expected, atol=2e-6)


def test_reflected_border_is_torch_reflection():
    raw = images(count=1).inputs
    corner = torch.tensor([0])
    padded = functional.pad(raw.float(), (4, 4, 4, 4), mode="reflect")[:, :, :8, :8]
    plain = Pixels(mean=(0.0,) * 3, deviation=(1.0,) * 3).augmented(raw, corner)
    torch.testing.assert_close(plain, padded / 255)


def test_draws_reach_every_offset_and_both_flips():
    draws = PIXELS.draw(np.random.default_rng(0), 5000)
    assert sorted(set(draws.tolist())) == list(range(2 * 9 * 9))


def test_no_copy_of_the_set_is_made():
    split = images()
    loader = Loader(split, 4, PIXELS, 1, 2, augment=True)
    inputs, _ = loader.batch(0)
    assert loader.split.inputs is split.inputs
    assert split.inputs.dtype == torch.uint8
    assert inputs.shape == (4, 3, 8, 8)
    assert inputs.dtype == torch.float32


def test_validation_examples_are_the_last_ones():
    splits = held_out(numbered(10), numbered(4), 3)
    assert splits.train.targets.tolist() == list(range(7))
    assert splits.validation.targets.tolist() == [7, 8, 9]
    joined = splits.without_validation()
    assert joined.train.targets.tolist() == list(range(10))
    assert joined.validation is joined.test
    assert joined.sizes == (10, 4, 4)
