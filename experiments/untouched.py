"""Looking at a training without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pal.randomness import Randomness


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Buffers (running statistics) and random generators come out as they went in, bit by bit."""
    moment, kept = Randomness(), [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, values in kept:
            buffer.copy_(values)
        moment.replay()
