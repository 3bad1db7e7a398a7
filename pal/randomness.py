"""Drawing the same random numbers again: torch's on every device, Python's, numpy's, and generators of one's own."""

import ctypes
import math
import random
import struct
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch

Restore = Callable[[], object]


class Randomness:
    """A moment in all random generators that a closure may draw from.

    While a CUDA graph is captured, the CUDA generators cannot be read; `Twins` serve there.

    Args:
        own: generators that are not global: torch.Generator, random.Random, those of numpy.

    >>> moment = Randomness()
    >>> first = torch.rand(3), random.random()
    >>> moment.restore()
    >>> again = torch.rand(3), random.random()
    >>> torch.equal(first[0], again[0]), first[1] == again[1]
    (True, True)
    """

    def __init__(self, own: Iterable[Any] = ()) -> None:
        devices = () if capturing() else device_generators()
        self._devices = [(generator, generator.get_state()) for generator in devices]
        self._host = torch.default_generator.get_state()
        self._foreign = [twister.save() for twister in twisters()]
        self._own = [restoring(generator) for generator in own]

    def restore(self) -> None:
        """Put every generator back to this moment."""
        for generator, state in self._devices:
            generator.set_state(state)
        torch.default_generator.set_state(self._host)
        for twister, saved in zip(twisters(), self._foreign, strict=False):
            twister.restore(saved)
        for restore in self._own:
            restore()

    def drew_on_device(self) -> bool:
        """Whether anything was drawn on an accelerator since."""
        return any(not torch.equal(generator.get_state(), state) for generator, state in self._devices)


class Twister:
    """A global Mersenne twister, Python's or numpy's, whose state is copied as the memory that it lies in.

    Their own `getstate` takes 6 and 30 microseconds, as long as a small layer; copying 2,500 bytes takes a third of one.
    Where the memory does not hold what `getstate` says, as in another Python, `getstate` it is.

    Args:
        where: address and size of the words in memory.
        words: the words and the place in them, by the generator's own account, in the order of the memory.
        get: gives the whole state.
        put: takes it.
    """

    def __init__(
        self, where: tuple[int, int], words: bytes, get: Callable[[], Any], put: Callable[[Any], object]
    ) -> None:
        self._where = where
        self._get = get
        self._put = put
        self._direct = bool(where[0]) and ctypes.string_at(*where) == words

    def save(self) -> Any:
        """The present state."""
        return ctypes.string_at(*self._where) if self._direct else self._get()

    def restore(self, saved: Any) -> None:
        """Back to a saved state."""
        if self._direct:
            ctypes.memmove(self._where[0], saved, self._where[1])
        else:
            self._put(saved)


class PythonTwister(Twister):
    """The generator behind `random.random`."""

    def __init__(self) -> None:
        self._owner: Any = random.random.__self__  # pyright: ignore[reportFunctionMemberAccess]
        _, (*words, index), _ = random.getstate()
        start = object.__basicsize__
        size = random.Random.__mro__[1].__basicsize__ - start
        where = id(self._owner) + start, min(size, 4 * (1 + len(words)))
        super().__init__(
            where, struct.pack(f"={1 + len(words)}I", index, *words), random.getstate, random.setstate
        )

    def save(self) -> Any:
        """The present state, with the normal number drawn ahead."""
        return super().save(), self._owner.gauss_next

    def restore(self, saved: Any) -> None:
        """Back to a saved state."""
        super().restore(saved[0])
        self._owner.gauss_next = saved[1]


class NumpyTwister(Twister):
    """The generator behind `numpy.random.rand`.

    The normal number that it draws ahead is seen by `get_state` only. So long as nobody draws between saving and
    restoring, there is no need to look.
    """

    def __init__(self, numpy_random: Any, bits: Any) -> None:
        self.bits = bits
        state = numpy_random.get_state(legacy=False)
        twists = state["bit_generator"] == "MT19937"
        words = state["state"]["key"].tobytes() + struct.pack("=i", state["state"]["pos"]) if twists else b""
        where = (bits.ctypes.state_address if twists else 0), len(words)
        super().__init__(where, words, partial(numpy_random.get_state, legacy=False), numpy_random.set_state)
        self._looks: float = 8  # how often to save the whole state before believing that nobody draws

    def save(self) -> Any:
        """The present state, whole where somebody may draw."""
        words = super().save()
        if not self._direct:
            return words
        self._looks = max(self._looks - 1, 0)
        return words, self._get() if self._looks else None

    def restore(self, saved: Any) -> None:
        """Back to a saved state."""
        if not self._direct:
            super().restore(saved)
        elif ctypes.string_at(*self._where) != saved[0]:
            self._looks = math.inf
            if saved[1] is None:
                super().restore(saved[0])
            else:
                self._put(saved[1])


def twisters() -> tuple[Twister, ...]:
    """Python's global generator, and numpy's where numpy's is loaded."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return (_python(),)
    numpy_random = numpy.random  # loaded here, where numpy puts that off
    bits = numpy_random.mtrand._rand._bit_generator
    return _python(), _numpy(numpy_random, bits)


@lru_cache(1)
def _python() -> PythonTwister:
    return PythonTwister()


@lru_cache(1)
def _numpy(numpy_random: Any, bits: Any) -> NumpyTwister:
    return NumpyTwister(numpy_random, bits)


def restoring(generator: Any) -> Restore:
    """How to put a generator of whatever kind back to where it is now."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if hasattr(generator, "bit_generator"):  # numpy's new kind
        return partial(setattr, generator.bit_generator, "state", generator.bit_generator.state)
    return partial(generator.set_state, generator.get_state(legacy=False))


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


def device_generators() -> tuple[torch.Generator, ...]:
    """The default generators of the accelerators in use: CUDA, XPU and MPS."""
    kind = accelerator()
    if kind is None or kind == "cuda":
        return cuda_generators()
    if kind == "mps":
        return (torch.mps._get_default_mps_generator(),)  # pyright: ignore[reportPrivateUsage]
    module: Any = torch.get_device_module(kind)
    return tuple(getattr(module, "default_generators", ())) if module.is_initialized() else ()


@lru_cache(1)
def accelerator() -> str | None:
    """Type of this machine's accelerator."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if found is None else found.type


def capturing() -> bool:
    """Whether a CUDA graph is being captured, so that nothing may be read."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
