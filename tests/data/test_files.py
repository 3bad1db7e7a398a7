"""Data sets from CSV and npz: what suits is loaded alike every time, what does not is one sentence."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.common.errors import UserError
from experiments.data.checks import check_splits, report
from experiments.data.dataset import Dataset
from experiments.data.files import csv, npz
from experiments.data.splits import Split, Splits
from experiments.data.transforms import Cast


def table(rows=40, **columns):
    random = np.random.default_rng(0)
    known = {"a": random.normal(3, 5, rows), "b": random.integers(0, 9, rows), "constant": 1.0}
    known["y"] = known["a"] * 2 + known["b"]
    return pd.DataFrame(known | columns)


def written(tmp_path, frame):
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_table_of_real_values_is_standardised_and_split_alike_every_time(tmp_path):
    path = written(tmp_path, table())
    first, again = csv(path, "y", "values")(), csv(path, "y", "values")()
    assert (first.shape, first.outputs, first.sizes) == ((3,), 1, (28, 6, 6))
    splits = first.load()
    train = splits.train.inputs
    assert splits.train.targets.shape == (28, 1)
    assert train.mean(0).abs().max() < 1e-6
    assert train.std(0, unbiased=False).tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    assert torch.equal(splits.test.inputs, again.load().test.inputs)
    assert all(check.passed for check in report("mine", first))


@pytest.mark.parametrize(
    ("labels", "task", "outputs"), [("xyz", "classes", 3), ("xy", "binary", 1), ([3, 7, 5], "classes", 3)]
)
def test_labels_of_any_kind_are_numbered_in_order(tmp_path, labels, task, outputs):
    frame = table(y=[labels[row % len(labels)] for row in range(40)])
    data = csv(written(tmp_path, frame), "y", task)()
    targets = torch.cat(
        [part.targets for part in (data.load().train, data.load().validation, data.load().test)]
    )
    assert (data.outputs, targets.dtype, sorted(set(targets.tolist()))) == (
        outputs,
        torch.int64,
        list(range(len(labels))),
    )


def test_images_in_an_npz_file_are_standardised_by_channel(tmp_path):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (60, 2, 5, 5)).astype(np.uint8)
    x[:, 1] //= 4
    np.savez(tmp_path / "mine.npz", pictures=x, y=random.integers(0, 2, (60, 1)))
    data = npz(tmp_path / "mine.npz", "classes", inputs="pictures")()
    assert data.shape == (2, 5, 5)
    assert data.load().train.inputs.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-2)


@pytest.mark.parametrize(
    ("frame", "arguments", "words"),
    [
        (table(), ("z", "values"), "has no column 'z'; known are a, b, constant, y"),
        (table(colour="red"), ("y", "values"), "column 'colour' holds 'red', which is no number"),
        (table(a=np.nan), ("y", "values"), "column 'a' has missing values"),
        (table(y="red"), ("y", "values"), "the target is 'red', no number; classes have task='classes'"),
        (table(y=np.nan), ("y", "values"), "the target has missing or infinite values"),
        (table(y=np.arange(40) * 1e6), ("y", "values"), "standard deviation of the target is 1.17e+07"),
        (table(), ("y", "classes"), "the target has 40 different numbers; real values have task='values'"),
        (table(y=list("abcd") * 10), ("y", "binary"), "the target has 4 different values"),
        (table(), ("y", "regression"), "task is 'regression'; known are classes, binary, values"),
        (table(rows=5), ("y", "values"), "has 5 examples; at least 10 are needed"),
    ],
)
def test_what_does_not_suit_is_one_sentence(tmp_path, frame, arguments, words):
    with pytest.raises(UserError) as caught:
        csv(written(tmp_path, frame), *arguments)()
    assert words in str(caught.value)
    assert "mine.csv" in str(caught.value)


def test_an_npz_file_needs_both_arrays_with_as_many_rows(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.zeros((20, 3)), y=np.zeros(19), flat=np.zeros(20))
    for arguments, words in (
        ({}, "'x' has 20 rows, 'y' has 19"),
        ({"targets": "z"}, "has no array 'z'; known are x, y, flat"),
        ({"inputs": "flat"}, r"'flat' has shape \[20\]"),
    ):
        with pytest.raises(UserError, match=words):
            npz(tmp_path / "mine.npz", "values", **arguments)()
    (tmp_path / "text.npz").write_text("none")
    with pytest.raises(UserError, match="cannot be read as npz"):
        npz(tmp_path / "text.npz", "values")()


def made(task, targets, outputs=1, inputs=None):
    x = torch.zeros(len(targets), 3) if inputs is None else inputs
    split = Split(x, targets)
    sizes = (len(targets),) * 3
    return Dataset(
        "m", task, (3,), outputs, sizes, Cast(torch.float32), lambda: Splits(split, split, split), str
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (made("values", torch.zeros(8)), "targets have shape [8] and type torch.float32; real values are"),
        (made("values", torch.zeros(8, 2)), "of shape [8, 1]"),
        (made("values", torch.full((8, 1), torch.nan)), "targets hold NaN"),
        (made("classes", torch.arange(8), 7), "are between 0 and 7; with 7 classes they must be 0 to 6"),
        (made("classes", torch.zeros(8), 2), "type torch.float32; classes are int64"),
        (made("binary", torch.arange(8)), "are not all 0 or 1"),
        (made("binary", torch.zeros(8)), "binary labels are integers"),
        (
            made("values", torch.zeros(8, 1), 1, torch.zeros(8, 4)),
            "inputs have shape [4], but `shape` says [3]",
        ),
        (made("values", torch.zeros(8, 1), 1, torch.zeros(7, 3)), "inputs are 7, the targets 8"),
        (made("values", torch.zeros(8, 1), 1, torch.full((8, 3), torch.inf)), "inputs hold NaN or infinity"),
    ],
)
def test_a_description_that_is_not_true_of_the_arrays_is_one_sentence(data, words):
    with pytest.raises(UserError) as caught:
        check_splits("mine", data, data.load())
    assert words in str(caught.value)


def test_examples_in_two_parts_are_found():
    data = made("values", torch.zeros(8, 1))
    assert not {check.what: check.passed for check in report("mine", data)}["overlap"]


@pytest.mark.parametrize("damage", ["empty", "half", "another byte", "one array"])
def test_what_is_no_npz_is_one_sentence(tmp_path, damage):
    file = tmp_path / "mine.npz"
    np.savez_compressed(file, x=np.arange(4000.0).reshape(100, 40), y=np.arange(100) % 3)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    if damage == "one array":
        with file.open("wb") as opened:
            np.save(opened, np.zeros(3))
    else:
        file.write_bytes(
            {"empty": b"", "half": content[: len(content) // 2], "another byte": bytes(content)}[damage]
        )
    with pytest.raises(UserError, match=r"mine\.npz cannot be read as npz"):
        npz(file, task="classes")()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,y\n", "has 0 examples; at least 10"),
        ("a,y,y\n" + "1,2,3\n" * 20, "has the column 'y' twice"),
        ("a,y\n" + "1,2\n" * 10 + "?,2\n", "column 'a' holds '?', which is no number"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named(tmp_path, text, words):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        csv(tmp_path / "mine.csv", target="y", task="classes", drop="b" if "b" in text else ())()
    assert words in str(caught.value)
