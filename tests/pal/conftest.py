"""Hypothesis without a clock, as a busy machine is no failure; and the beginning of the guide."""

from collections.abc import Iterator

import guide
import pytest
import torch
from hypothesis import settings

settings.register_profile("pal", deadline=None, database=None)
settings.load_profile("pal")


@pytest.fixture
def space(monkeypatch, tmp_path) -> Iterator[dict]:
    """What the first blocks of the guide define, in float64, so that steps can be compared to many digits."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield guide.beginning()
    torch.set_default_dtype(before)
