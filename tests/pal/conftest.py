"""The beginning of the guide."""

from collections.abc import Iterator

import guide
import pytest
import torch


@pytest.fixture
def space(monkeypatch, tmp_path) -> Iterator[dict]:
    """What the first blocks of the guide define, in float64, so that steps can be compared to many digits."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield guide.beginning()
    torch.set_default_dtype(before)
