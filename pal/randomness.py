"""Drawing the same random numbers again: torch's on every device, Python's, numpy's, and generators of one's own."""

import ctypes
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
        devices = () if accelerator() is None or capturing() else device_generators()
        self._devices = [(generator, generator.get_state()) for generator in devices]
        self._host = torch.default_generator.get_state()
        self._foreign = [(twister, twister.save()) for twister in twisters()]
        self._own = [restoring(generator) for generator in own]

    def restore(self) -> None:
        """Put every generator back to this moment."""
        for generator, state in self._devices:
            generator.set_state(state)
        torch.default_generator.set_state(self._host)
        for twister, saved in self._foreign:
            twister.restore(saved)
        for restore in self._own:
            restore()

    def drew_on_device(self) -> bool:
        """Whether anything was drawn on an accelerator since."""
        return any(not torch.equal(generator.get_state(), state) for generator, state in self._devices)


class Twister:
    """A global Mersenne twister, Python's or numpy's, whose state is copied as the memory that it lies in.

    Their own `getstate` takes 6 and 30 microseconds, as long as a small layer; copying 2,500 bytes takes a
    tenth of one. Where the memory does not hold what `getstate` says, as in another Python, `getstate` it is.

    Args:
        get: gives the whole state.
        put: takes it.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], object]) -> None:
        self._get = get
        self._put = put
        self._memory: Any = None

    def _bind(self, address: int, words: bytes) -> None:
        """Use the memory at an address if these words are there."""
        memory = (ctypes.c_char * len(words)).from_address(address)
        self._memory = memory if memory.raw == words else None


class PythonTwister(Twister):
    """The generator behind `random.random`."""

    def __init__(self) -> None:
        super().__init__(random.getstate, random.setstate)
        self._owner: Any = random.random.__self__  # pyright: ignore[reportFunctionMemberAccess]
        _, (*words, index), _ = random.getstate()
        size = random.Random.__mro__[1].__basicsize__ - object.__basicsize__
        if size >= 4 * (1 + len(words)):
            self._bind(
                id(self._owner) + object.__basicsize__, struct.pack(f"={1 + len(words)}I", index, *words)
            )

    def save(self) -> Any:
        """The present state, with the normal number drawn ahead."""
        return (self._get() if self._memory is None else self._memory.raw), self._owner.gauss_next

    def restore(self, saved: Any) -> None:
        """Back to a saved state."""
        words, self._owner.gauss_next = saved
        if self._memory is None:
            self._put(words)
        else:
            self._memory.raw = words


class NumpyTwister(Twister):
    """The generator behind `numpy.random.rand`.

    The normal number that it draws ahead is seen by `get_state` only. Until there was one, equal words are
    an equal state.
    """

    def __init__(self, numpy_random: Any) -> None:
        super().__init__(partial(numpy_random.get_state, legacy=False), numpy_random.set_state)
        self._owner = numpy_random.mtrand._rand
        self._bits: Any = None
        self._last: tuple[bytes | None, Any] = None, None
        self._ahead = False  # whether a normal number was ever seen drawn ahead

    def save(self) -> Any:
        """The present state."""
        if self._bits is not self._owner._bit_generator:
            self._find()
        if self._memory is None:
            return None, self._get()
        words, _ = self._last
        if words is None or self._ahead or words != self._memory.raw:
            self._last = self._memory.raw, self._get()
            self._ahead |= bool(self._last[1]["has_gauss"])
        return self._last

    def restore(self, saved: Any) -> None:
        """Back to a saved state."""
        words, state = saved
        if words is None or self._ahead or words != self._memory.raw:
            self._put(state)

    def _find(self) -> None:
        """Find the state of the bit generator that is in use."""
        self._bits, self._memory, self._last = self._owner._bit_generator, None, (None, None)
        state = self._get()
        if state["bit_generator"] == "MT19937":
            words = state["state"]["key"].tobytes() + struct.pack("=i", state["state"]["pos"])
            self._bind(self._bits.ctypes.state_address, words)


_twisters: list[Any] = [PythonTwister()]


def twisters() -> list[Any]:
    """Python's global generator, and numpy's where numpy is loaded."""
    if len(_twisters) == 1 and "numpy" in sys.modules:
        _twisters.append(NumpyTwister(sys.modules["numpy"].random))
    return _twisters


def restoring(generator: Any) -> Restore:
    """How to put a generator of whatever kind back to where it is now."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        try:
            return partial(generator.setstate, generator.getstate())
        except NotImplementedError:  # the system's entropy, which nobody draws again
            return bool
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
    if kind is None:
        return ()
    if kind == "cuda":
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
