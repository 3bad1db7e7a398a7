"""Drawing the same random numbers again, on every device."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


class Randomness:
    """A moment in torch's default generators, of the CPU and of every CUDA device in use.

    While a CUDA graph is captured, the CUDA generators cannot be read; `Twins` serve there.

    >>> moment = Randomness()
    >>> first = torch.rand(3)
    >>> moment.replay()
    >>> torch.equal(torch.rand(3), first)
    True
    """

    def __init__(self) -> None:
        generators = (
            (torch.default_generator,) if capturing() else (torch.default_generator, *cuda_generators())
        )
        self._states = [(generator, generator.get_state()) for generator in generators]

    def replay(self) -> None:
        """Put every generator back to this moment."""
        for generator, state in self._states:
            generator.set_state(state)

    def drew_on_cuda(self) -> bool:
        """Whether anything was drawn on a CUDA device since."""
        return any(not torch.equal(generator.get_state(), state) for generator, state in self._states[1:])


class Twins:
    """Two equal copies of each CUDA generator, for the two evaluations of a step captured in a CUDA graph.

    Each replay of the graph advances both copies alike, so that both evaluations draw the same numbers, new ones at
    every replay. The generators outside of the graph stay as they are, unless it is replayed by `replay`.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self._pairs = [(each, (each.clone_state(), each.clone_state())) for each in cuda_generators()]
        if torch.__version__ >= "2.14":  # from then on a graph notices by itself which generators draw in it
            return
        for _, pair in self._pairs:
            for twin in pair:
                graph.register_generator_state(twin)  # pyright: ignore[reportUnknownMemberType]

    def replay(self, graph: torch.cuda.CUDAGraph) -> None:
        """Replay the graph as if it were an eager step: it draws the numbers that come next, and uses them up."""
        for generator, pair in self._pairs:
            for twin in pair:
                twin.set_state(generator.get_state())
        graph.replay()
        for generator, (twin, _) in self._pairs:
            generator.set_state(twin.get_state())

    @contextmanager
    def drawing(self, evaluation: int) -> Generator[None]:
        """Inside, the random numbers on CUDA come from the copies for evaluation 0 or 1."""
        own = [generator.graphsafe_get_state() for generator, _ in self._pairs]
        for generator, pair in self._pairs:
            generator.graphsafe_set_state(pair[evaluation])
        try:
            yield
        finally:
            for (generator, _), state in zip(self._pairs, own, strict=True):
                generator.graphsafe_set_state(state)


def cuda_generators() -> tuple[torch.Generator, ...]:
    """The default generators of the CUDA devices, if any is in use."""
    return tuple(torch.cuda.default_generators) if torch.cuda.is_initialized() else ()


def capturing() -> bool:
    """Whether a CUDA graph is being captured, so that nothing may be read."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
