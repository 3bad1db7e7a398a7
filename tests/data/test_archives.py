"""Archives and published formats, made here in miniature."""

import gzip
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments.common.errors import UserError
from experiments.data import archives, mnist, packs, tinyimagenet, tolstoi
from experiments.data.cifar import decode_binary


def make_tar(path, members, link=None):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(info)
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def everything(path):
    return dict(archives.read(path, lambda name: True))


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil"])
def test_names_that_lead_out_are_refused(tmp_path, make, name):
    archive = make(tmp_path / "archive", {"good": b"1", name: b"2"})
    with pytest.raises(UserError, match="leads out of the folder"):
        everything(archive)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_members_are_read_in_memory(tmp_path, make):
    archive = make(tmp_path / "archive", {"a/b": b"1", "c": b"2"})
    assert everything(archive) == {"a/b": b"1", "c": b"2"}
    assert dict(archives.read(archive, lambda name: name == "c")) == {"c": b"2"}


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    archive = make_tar(tmp_path / "archive", {"a": b"1"}, link=("b", str(tmp_path / "secret")))
    assert everything(archive) == {"a": b"1"}


def test_a_folder_reads_like_the_archive(tmp_path):
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/b").write_bytes(b"1")
    assert everything(tmp_path / "root") == {"root/a/b": b"1"}


def test_a_truncated_archive(tmp_path):
    random = np.random.default_rng(0).bytes(100_000)
    archive = make_tar(tmp_path / "archive", {"a": random})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(UserError, match=r"the archive .* is damaged"):
        everything(archive)


def cifar_records(count, label_bytes, seed):
    return np.random.default_rng(seed).integers(0, 100, (count, label_bytes + 3072), dtype=np.uint8)


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifar_binary(tmp_path, label_bytes):
    first, second, test = (cifar_records(count, label_bytes, count) for count in (3, 4, 2))
    records = {"two.bin": second, "one.bin": first, "test.bin": test, "readme": test[:0]}
    members = {f"cifar/{name}": array.tobytes() for name, array in records.items()}
    archive = make_tar(tmp_path / "a.tar.gz", members)
    arrays = decode_binary([archive], ["one.bin", "two.bin"], "test.bin", label_bytes)
    expected = np.concatenate([first, second])
    np.testing.assert_array_equal(arrays["train_labels"], expected[:, label_bytes - 1])
    np.testing.assert_array_equal(arrays["train_images"].reshape(7, -1), expected[:, label_bytes:])
    assert arrays["test_images"].shape == (2, 3, 32, 32)


def test_cifar_binary_without_a_batch(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", {"cifar/test.bin": cifar_records(1, 1, 0).tobytes()})
    with pytest.raises(UserError, match=r"has no member one\.bin"):
        decode_binary([archive], ["one.bin"], "test.bin", 1)


def idx_file(path, values):
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))
    return path


def test_mnist_idx(tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    labels = np.array([3, 9], dtype=np.uint8)
    paths = [idx_file(tmp_path / str(i), values) for i, values in enumerate([images, labels] * 2)]
    arrays = mnist.decode_idx(paths)
    np.testing.assert_array_equal(arrays["train_images"][:, 0], images)
    np.testing.assert_array_equal(arrays["test_labels"], [3, 9])


@pytest.mark.parametrize("content", [b"no idx file", b"\0\0\x08\x01\0\0\0\x05abc"])
def test_mnist_idx_that_is_none(tmp_path, content):
    (tmp_path / "file").write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=r"is not an idx file|holds 3 values instead of 5"):
        mnist.read_idx(tmp_path / "file")


def encoded(value, size=64):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_pack_of_tall_pictures(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    blobs = []
    for part in (images[:3], images[3:]):
        buffer = io.BytesIO()
        Image.fromarray(part.reshape(-1, 8, 3)).save(buffer, "WEBP", lossless=True)
        blobs.append(buffer.getvalue())
    path = tmp_path / "pack.npz"
    np.savez(
        path,
        labels=np.arange(5, dtype=np.uint8),
        blob=np.frombuffer(b"".join(blobs), np.uint8),
        offsets=np.cumsum([0, *map(len, blobs)]),
        shape=np.array([8, 8, 3]),
    )
    arrays = packs.decode([path, path])
    np.testing.assert_array_equal(arrays["train_images"], images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(arrays["test_labels"], range(5))


def tiny_members(classes):
    members = {}
    annotations = []
    for label, name in enumerate(classes):
        for number in (0, 2, 10):
            member = f"tiny-imagenet-200/train/{name}/images/{name}_{number}.JPEG"
            members[member] = encoded(20 * label + number)
        members[f"tiny-imagenet-200/val/images/val_{label}.JPEG"] = encoded(100 + label)
        annotations.append(f"val_{label}.JPEG\t{name}\t0\t0\t63\t63\n")
    members["tiny-imagenet-200/val/val_annotations.txt"] = "".join(annotations).encode()
    return members


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_tiny_imagenet(tmp_path, form):
    members = tiny_members(["n3", "n1", "n2"])
    root = tmp_path / "tiny-imagenet-200"
    if form == "zip":
        root = make_zip(tmp_path / "tiny.zip", members)
    else:
        for name, content in members.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
    arrays = tinyimagenet.decode_folder([root], every=2)
    # Classes n1 (label 1 when written) and n3 (label 0), in turn, images in numerical order.
    assert arrays["train_images"][:, 0, 0, 0].tolist() == [20, 0, 22, 2, 30, 10]
    assert arrays["train_labels"].tolist() == [0, 1, 0, 1, 0, 1]
    assert arrays["test_images"][:, 0, 0, 0].tolist() == [101, 100]


def test_tiny_imagenet_that_is_empty(tmp_path):
    with pytest.raises(UserError, match="holds no training images"):
        tinyimagenet.decode_folder([make_zip(tmp_path / "empty.zip", {"a": b""})], every=1)


def test_tolstoi_cuts():
    # Lines are numbered by what is left after the cut before, as the recipe counts them.
    lines = [f"{number}\r\n".encode() for number in range(1, 66_000)]
    kept = tolstoi.cut_lines(b"".join(lines)).split()
    assert kept[:6] == [b"30", b"31", b"32", b"33", b"805", b"806"]
    assert len(kept) == 65_999 - 29 - 771 - 358


def test_tolstoi_numbers_characters_by_frequency():
    assert tolstoi.number_by_frequency("abbcccda").tolist() == [1, 2, 2, 0, 0, 0, 3, 1]


def test_tolstoi_rows_predict_the_next_character():
    split = tolstoi.rows(np.arange(205, dtype=np.uint8))
    assert split.inputs.shape == (4, 50)
    np.testing.assert_array_equal(split.targets, split.inputs.long() + 1)
    assert tolstoi.rows(np.arange(200, dtype=np.uint8)).inputs.shape == (3, 50)


def test_another_text_is_refused(tmp_path):
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"Anna Karenina"))
    with pytest.raises(UserError, match="does not contain the text that DeepOBS uses"):
        tolstoi.decode_pack([tmp_path / "text.gz"])
