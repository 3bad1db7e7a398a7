"""Shared by all tests: hypothesis without a clock, and where optional real data and reference numbers live."""

import os
from contextlib import suppress
from pathlib import Path

with suppress(ModuleNotFoundError):  # the tests of the wheel of pal have no `experiments`
    from experiments.common import instruction_set

    instruction_set.fix()  # before torch is loaded, as for every command

import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("tests", deadline=None, database=None)  # a busy machine is no failure
settings.load_profile("tests")

LONGEST = (
    "test_extend.py",
    "test_verify.py",
    "test_partial.py",
    "test_launcher.py",
    "test_commands.py",
    "test_interrupts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one of them at the end.

    Files are not divided among processes (`--dist loadfile`): each would make the same fixtures for its share.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)


def optional_folder(variable: str, fallback: str) -> Path:
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / fallback)).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; point {variable} at the folder to run this test")
    return folder


@pytest.fixture(scope="session")
def data_mirror() -> Path:
    """Folder with the offline data packs (PAL_DATA_MIRROR)."""
    return optional_folder("PAL_DATA_MIRROR", "data")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder with optimizer_trajectories.npz (PAL_REFERENCE): what the published implementations computed."""
    return optional_folder("PAL_REFERENCE", "reference")


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are fastest, and sums reproducible, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def runs_root(tmp_path_factory, monkeypatch) -> Path:
    """Folder of the test's own runs."""
    root = tmp_path_factory.mktemp("runs")
    monkeypatch.setenv("PAL_RUNS", str(root))
    return root
