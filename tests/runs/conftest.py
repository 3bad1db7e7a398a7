"""A run directory of each test's own."""

import pytest


@pytest.fixture(autouse=True)
def runs_root(tmp_path, monkeypatch):
    """Folder of the test's runs."""
    root = tmp_path / "runs"
    root.mkdir()
    monkeypatch.setenv("PAL_RUNS", str(root))
    return root
