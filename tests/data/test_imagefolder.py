"""ImageNet as a folder of images, made here in miniature."""

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.common.errors import UserError
from experiments.data import imagefolder
from experiments.data.imagefolder import Crops, ImageFiles
from experiments.data.loader import Loader, ReadAhead

CPU = torch.device("cpu")
CROPS = Crops(mean=(0.0,) * 3, deviation=(1.0,) * 3)


@pytest.fixture
def folder(tmp_path):
    """Three classes of 2, 1 and 3 images; image i of class c is grey of 40 c + i."""
    for split in ("train", "val"):
        for label, count in enumerate((2, 1, 3)):
            place = tmp_path / "imagenet" / split / f"n{label}"
            place.mkdir(parents=True)
            for number in range(count):
                image = np.full((300, 452, 3), 40 * label + number, dtype=np.uint8)
                Image.fromarray(image).save(place / f"image_{number}.JPEG", format="PNG")
    return tmp_path / "imagenet"


def test_classes_take_turns(folder):
    split = imagefolder.list_split(folder, "train", 3)
    assert split.targets.tolist() == [0, 1, 2, 0, 2, 2]
    grey = split.take(torch.arange(6))[:, 0, 0, 0]
    assert grey.tolist() == [0, 40, 80, 1, 81, 82]
    assert split.part(slice(3)).take(torch.arange(3))[:, 0, 0, 0].tolist() == [0, 40, 80]


def test_number_of_classes_is_checked(folder):
    with pytest.raises(UserError, match=r"train has 3 class folders instead of 1000"):
        imagefolder.list_split(folder, "train", 1000)


def test_crops_reach_every_corner(tmp_path):
    # 452 x 904 with a bright corner pixel block at each end: scaled to 226 x 452.
    image = np.zeros((452, 904, 3), dtype=np.uint8)
    image[:8, :8] = 255
    image[-8:, -8:] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    files = ImageFiles(tmp_path, ("a.png",) * 3, CPU)
    last = imagefolder.RESOLUTION - 1
    first, end, centre = files.take(
        torch.arange(3), torch.tensor([[0, 0], [last, last], [last // 2, last // 2]])
    )
    assert first[0, 0, 0] == 255
    assert end[0, -1, -1] == 255
    assert centre.max() == 0
    assert torch.equal(files.take(torch.tensor([0]), None)[0], centre)


def test_damaged_image(tmp_path):
    (tmp_path / "a.jpeg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"the image .*a\.jpeg is damaged"):
        ImageFiles(tmp_path, ("a.jpeg",), CPU).take(torch.tensor([0]), None)


def test_reading_ahead_changes_nothing(folder):
    split = imagefolder.list_split(folder, "train", 3)
    ahead, plain = (kind(split, 2, CROPS, 1, 2, augment=True) for kind in (ReadAhead, Loader))
    for step in (0, 1, 2, 7, 3):
        inputs, labels = ahead.batch(step)
        expected_inputs, expected_labels = plain.batch(step)
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(labels, expected_labels)
        assert inputs.shape == (2, 3, 224, 224)
        assert inputs.max() <= 1


def test_hash_follows_names_and_sizes(folder):
    inputs = imagefolder.list_split(folder, "train", 3).inputs
    before = inputs.sha256()
    with (folder / "train/n1/image_0.JPEG").open("ab") as file:
        file.write(b" ")
    assert inputs.sha256() != before


def test_missing_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_DATA_MIRROR", str(tmp_path))
    monkeypatch.setenv("PAL_DATA", str(tmp_path / "data"))
    with pytest.raises(UserError, match=r"ImageNet is not here: .*PAL_DATA_MIRROR.*image-net\.org.*quick"):
        imagefolder.load()


def test_found_in_the_mirror(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_DATA_MIRROR", str(tmp_path))
    monkeypatch.setattr(imagefolder, "CLASSES", 3)
    splits = imagefolder.load()
    assert splits.sizes == (6, 6, 6)
    assert splits.validation is splits.test
