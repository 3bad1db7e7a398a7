"""The data packs, decoded once for the whole test session."""

import pytest


@pytest.fixture(scope="session")
def decoded_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture
def packs(monkeypatch, decoded_folder, data_mirror):
    """PAL_DATA and PAL_DATA_MIRROR for a test that reads the packs."""
    monkeypatch.setenv("PAL_DATA", str(decoded_folder))
    monkeypatch.setenv("PAL_DATA_MIRROR", str(data_mirror))
