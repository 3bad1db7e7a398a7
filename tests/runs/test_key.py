"""What two runs must have in common to be the same run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from copies import forget_code, repository_copy
from small_runs import short

from experiments.common import code_digest, definitions, packages
from experiments.data import DATASETS, dataset, files
from experiments.models import NETWORKS
from experiments.optimizers import OPTIMIZERS
from experiments.problems import PROBLEMS, Problem
from experiments.runs import key, run_directory
from experiments.runs.key import REGISTRIES, key_without_data, run_key
from experiments.runs.reasons import reasons


def test_the_key_is_the_same_for_the_same_run():
    first, again = short(settings={"mu": 1}), short(settings={"mu": 1.0, "alpha": 1.0})
    assert run_key(first) == run_key(again)
    assert len(run_key(first)) == 16
    assert int(run_key(first), 16) >= 0


CHANGES = {"seed": 1, "steps": 25, "settings": {"mu": 0.2}, "optimizer": "sgd", "problem": "digits-mlp"}
CHANGES |= {"batch_size": 64, "l2": 0.0, "train_size": 255, "evaluate_every": 6, "method": "other"}
CHANGES |= {"dtype": "bfloat16", "deterministic": False, "measure": {"every": 1}}
CHANGES |= {"threads": 2, "instruction_set": "native"}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_changes_the_key(name):
    assert run_key(short(**{name: CHANGES[name]})) != run_key(short())


@pytest.mark.parametrize("module", [name for name in REGISTRIES if ":" not in name])
def test_a_registry_may_grow_without_changing_a_run(module):
    assert module in code_digest.files("experiments.studies.benchmark")
    assert module not in code_digest.files("experiments.studies.benchmark", without=REGISTRIES)


@pytest.mark.parametrize(
    ("registry", "name", "target"),
    [(NETWORKS, "digits-cnn", "moved:digits_cnn"), (OPTIMIZERS, "pal", "moved:PAL")],
)
def test_a_key_does_not_say_where_code_stands(monkeypatch, registry, name, target):
    config = short()
    monkeypatch.setattr(key, "_code", lambda *_: "the same code")
    monkeypatch.setattr(key, "_packages", lambda *_: {})
    before = run_key(config)
    monkeypatch.setitem(registry, name, replace(registry[name], target=target))
    assert run_key(config) == before


def test_changing_a_constant_changes_the_key(monkeypatch):
    """The digest of code is another one if any number in it is (tests/common); here: it is part of the key."""
    config = short()
    before = run_key(config)
    monkeypatch.setattr(key, "_code", lambda *_: "other code")
    assert run_key(config) != before


BESIDE = {
    "a network": ("experiments/models/small.py", "def mine(shape, outputs):\n    return nn.Identity()"),
    "an optimizer": ("experiments/optimizers/variants.py", "class Mine(PAL):\n    pass"),
    "a line search": ("pal/baselines/sls.py", "class Mine:\n    pass"),
    "a data set": ("experiments/data/digits.py", "DATASETS |= {}\n\ndef mine():\n    return load()"),
    "what a study may use": ("experiments/studies/base.py", "class Mine(Trainings):\n    pass"),
}


def test_what_is_added_beside_makes_no_finished_run_unknown(copy):
    """A network, a loss, an optimizer, a data set or a study of one's own, wherever one puts it."""
    root, digests = copy
    before = digests()
    for name, text in BESIDE.values():
        (root / name).write_text(f"{(root / name).read_text()}\n\n{text}\n")
    change(
        root / "experiments/problems/objectives.py",
        '"objective",\n    {',
        '\n    "mine": None,',
    )
    change(
        root / "experiments/problems/registry.py",
        "QUICK = [",
        '\n    Problem("mine", "digits", "mlp-8", "mine", 60),',
    )
    change(
        root / "experiments/studies/registry.py",
        '"study",\n    {',
        '\n        "mine": "experiments.studies.mine",',
    )
    assert digests() == before
    change(
        root / "experiments/problems/objectives.py",
        "_share_of_largest(outputs: Tensor, targets: Tensor) -> Tensor:\n    return (",
        "-",
    )
    change(root / "experiments/models/small.py", "nn.Dropout(0.25", "5")
    assert not set(digests()) & set(before)


def change(file, place, text):
    """Insert text behind a place in a file."""
    before, found, after = file.read_text().partition(place)
    assert found
    file.write_text(before + found + text + after)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the repository, and what code digests say of it."""
    root = repository_copy(tmp_path)
    monkeypatch.setattr(definitions, "REPOSITORY", root)

    def digests():
        forget_code(key)
        targets = [OPTIMIZERS[name].target for name in ("pal", "sls", "sgd", "pal-safeguard")]
        network = NETWORKS["digits-cnn"].target
        return [key._code("benchmark", "digits", "classes", network, target) for target in targets]

    yield root, digests
    forget_code(key)


def test_other_data_make_another_key(monkeypatch):
    before = run_key(short())
    monkeypatch.setattr(dataset, "checksum", lambda _: "others")
    assert run_key(short()) != before
    assert key_without_data(short()) == key_without_data(short())


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_corrected_labels_in_a_file_make_another_key_and_the_old_ones_the_old_key(
    kind, tmp_path, monkeypatch
):
    x = np.random.default_rng(0).standard_normal((60, 3))
    labels = np.arange(60) % 3
    file = tmp_path / f"mine.{kind}"
    monkeypatch.setitem(PROBLEMS, "mine", Problem("mine", "mine", "mlp-8", "mine", 20, batch_size=8))

    def key_with(labels):
        if kind == "npz":
            np.savez(file, x=x, y=labels)
        else:
            pd.DataFrame(x, columns=list("abc")).assign(y=labels).to_csv(file, index=False)
        entry = (
            files.npz(file, task="classes") if kind == "npz" else files.csv(file, target="y", task="classes")
        )
        monkeypatch.setitem(DATASETS, "mine", entry)
        for function in (dataset.get, dataset._of_splits):  # as in a new process
            function.cache_clear()
        return run_key(short(problem="mine", train_size=None))

    wrong, right = labels, np.where(np.arange(60) == 7, 0, labels)
    before = key_with(wrong)
    assert key_with(right) != before
    assert key_with(wrong) == before


def test_the_reason_of_a_run_on_other_data_is_the_data_alone_also_with_an_extension(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    config = short(extensions=[str(tmp_path / "mine.py")])
    run_directory.execute(config, lambda *_: {"steps": 1})
    monkeypatch.setattr(dataset, "checksum", lambda _: "others")
    assert reasons([config]) == ["data"]


def test_data_that_are_not_here_count_as_those_of_the_newest_run(monkeypatch):
    run_directory.execute(short(), lambda *_: {"steps": 1})
    before = run_key(short())
    monkeypatch.setattr(dataset, "checksum", lambda _: None)
    assert run_key(short()) == before
    assert run_key(short(problem="mnist-cnn", train_size=None)) != before


def test_many_keys_of_data_that_are_not_here_read_each_run_once(monkeypatch):
    for seed in range(3):
        run_directory.execute(short(seed=seed), lambda *_: {"steps": 1})
    monkeypatch.setattr(dataset, "checksum", lambda _: None)
    read = []
    known = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or known(path))
    keys = {run_key(short(seed=seed)) for seed in range(20)}
    assert len(keys) == 20
    assert sorted(path.name for path in read) == ["info.json"] * 3 + ["run.json"] * 3


def test_a_run_that_is_added_counts_for_data_that_are_not_here(monkeypatch):
    here = dataset.checksum
    monkeypatch.setattr(dataset, "checksum", lambda _: None)
    unknown = run_key(short())
    with monkeypatch.context() as present:
        present.setattr(dataset, "checksum", here)
        run_directory.execute(short(), lambda *_: {"steps": 1})
        known = run_key(short())
    assert unknown != run_key(short()) == known


@pytest.mark.parametrize(
    ("package", "optimizer"), [("prodigyopt", "prodigy"), ("torch", "pal"), ("numpy", "pal")]
)
def test_another_version_of_a_package_changes_the_runs_that_use_it_and_no_others(
    monkeypatch, package, optimizer
):
    config, other = short(optimizer=optimizer), short(optimizer="sgd")
    before = run_key(config), run_key(other)
    known = packages.version
    key._packages.cache_clear()
    monkeypatch.setattr(packages, "version", lambda name: "99" if name == package else known(name))
    assert run_key(config) != before[0]
    assert (run_key(other) == before[1]) == (package == "prodigyopt")
    key._packages.cache_clear()


def test_code_that_is_installed_editable_counts_by_its_text(tmp_path, monkeypatch):
    (tmp_path / "mine_alone.py").write_text("rate = 1")
    monkeypatch.syspath_prepend(tmp_path)
    packages.version.cache_clear()
    before = packages.version("mine_alone")
    (tmp_path / "mine_alone.py").write_text("rate = 2")
    packages.version.cache_clear()
    assert packages.version("mine_alone") != before
    assert packages.version("torch") == torch.__version__.partition("+")[0]
