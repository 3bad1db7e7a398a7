"""Saving and restoring random generators: those of torch on every device, of Python and NumPy, and custom ones."""

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
    """The current state of all random generators that a closure may draw from.

    The states of CUDA generators cannot be read while a CUDA graph is captured; `PairedGenerators` replace them there.

    Args:
        generators: generators that are not global: torch.Generator, random.Random, or of NumPy.

    >>> state = Randomness()
    >>> first = torch.rand(3), random.random()
    >>> state.restore()
    >>> again = torch.rand(3), random.random()
    >>> torch.equal(first[0], again[0]), first[1] == again[1]
    (True, True)
    """

    def __init__(self, generators: Iterable[Any] = ()) -> None:
        self._devices: list[tuple[torch.Generator, torch.Tensor]] = []
        if accelerator() is not None and not capturing():
            self._devices += [(generator, generator.get_state()) for generator in device_generators()]
        self._host = torch.default_generator.get_state()
        self._restores: list[Restore] = []
        for twister in twisters():
            self._restores.append(partial(twister.restore, twister.save()))
        for generator in generators:
            self._restores.append(prepare_restore(generator))

    def restore(self) -> None:
        """Restore the state of every generator."""
        for generator, state in self._devices:
            generator.set_state(state)
        torch.default_generator.set_state(self._host)
        for restore in self._restores:
            restore()

    def drew_on_device(self) -> bool:
        """Whether anything was drawn on an accelerator since the state was saved."""
        return any(not torch.equal(generator.get_state(), state) for generator, state in self._devices)


class Twister:
    """A global Mersenne Twister, of Python or NumPy, whose state is saved by copying its memory.

    Their `getstate` takes 6 and 30 microseconds, as long as a small layer; copying 2,500 bytes takes 0.1. If the memory
    does not agree with `getstate`, as may happen in other versions of Python, `getstate` is used instead.

    Args:
        get: returns the complete state.
        put: sets the complete state.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], object]) -> None:
        self._get = get
        self._put = put
        self._memory: Any = None

    def _bind(self, address: int, words: bytes) -> None:
        """Use the memory at an address if it contains these words."""
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
        """The current state, including the second value of the last pair of normal numbers."""
        return (self._get() if self._memory is None else self._memory.raw), self._owner.gauss_next

    def restore(self, saved: Any) -> None:
        """Restore a saved state."""
        words, self._owner.gauss_next = saved
        if self._memory is None:
            self._put(words)
        else:
            self._memory.raw = words


class NumpyTwister(Twister):
    """The generator behind `numpy.random.rand`.

    It draws normal numbers in pairs, and only `get_state` shows the second one. Until one was seen, or closures drew,
    states with equal words are equal.
    """

    def __init__(self, numpy_random: Any) -> None:
        super().__init__(partial(numpy_random.get_state, legacy=False), numpy_random.set_state)
        self._owner = numpy_random.mtrand._rand
        self._bits: Any = None
        self._last: tuple[bytes | None, Any] = None, None
        self._pending = False  # whether the second normal number of a pair may be pending

    def save(self) -> Any:
        """The current state."""
        if self._bits is not self._owner._bit_generator:
            self._locate()
        if self._memory is None:
            return None, self._get()
        words, _ = self._last
        if words is None or self._pending or words != self._memory.raw:
            self._last = self._memory.raw, self._get()
            self._pending |= bool(self._last[1]["has_gauss"])
        return self._last

    def restore(self, saved: Any) -> None:
        """Restore a saved state."""
        words, state = saved
        self._pending |= words is not None and words != self._memory.raw
        if words is None or self._pending:
            self._put(state)

    def _locate(self) -> None:
        """Locate the memory of the bit generator in use."""
        self._bits, self._memory, self._last = self._owner._bit_generator, None, (None, None)
        state = self._get()
        if state["bit_generator"] == "MT19937":
            words = state["state"]["key"].tobytes() + struct.pack("=i", state["state"]["pos"])
            self._bind(self._bits.ctypes.state_address, words)


_twisters: list[Any] = [PythonTwister()]


def twisters() -> list[Any]:
    """The global generators of Python and, if it is imported, of NumPy."""
    if len(_twisters) == 1 and "numpy" in sys.modules:
        _twisters.append(NumpyTwister(sys.modules["numpy"].random))
    return _twisters


def prepare_restore(generator: Any) -> Restore:
    """Return a function that restores the current state of a generator of any supported kind."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        try:
            return partial(generator.setstate, generator.getstate())
        except NotImplementedError:  # random.SystemRandom, which cannot repeat its numbers
            return bool
    bits = getattr(generator, "bit_generator", generator)  # that of numpy.random.Generator
    if hasattr(bits, "state"):
        return partial(setattr, bits, "state", bits.state)
    return partial(generator.set_state, generator.get_state(legacy=False))


class PairedGenerators:
    """Two identical copies of each CUDA generator, one for each evaluation of a step captured in a CUDA graph.

    Each replay of the graph advances both copies equally: both evaluations draw the same numbers, which change from
    replay to replay. Torch's own generators are advanced only by `replay`, not by `graph.replay`.

    Args:
        graph: the graph to be captured.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self._pairs = [(each, (each.clone_state(), each.clone_state())) for each in cuda_generators()]
        if torch.__version__ >= "2.14":  # newer graphs register generators by themselves
            return
        for _, pair in self._pairs:
            for copy in pair:
                graph.register_generator_state(copy)  # pyright: ignore[reportUnknownMemberType]

    def replay(self, graph: torch.cuda.CUDAGraph) -> None:
        """Replay the graph with the random numbers of an eager step, and advance torch's generators as that would."""
        for generator, pair in self._pairs:
            for copy in pair:
                copy.set_state(generator.get_state())
        graph.replay()
        for generator, (copy, _) in self._pairs:
            generator.set_state(copy.get_state())

    @contextmanager
    def use(self, evaluation: int) -> Generator[None]:
        """Inside this context, CUDA draws from the copies for evaluation 0 or 1."""
        own = [generator.graphsafe_get_state() for generator, _ in self._pairs]
        for generator, pair in self._pairs:
            generator.graphsafe_set_state(pair[evaluation])
        try:
            yield
        finally:
            for (generator, _), state in zip(self._pairs, own, strict=True):
                generator.graphsafe_set_state(state)


def cuda_generators() -> tuple[torch.Generator, ...]:
    """The default generators of all CUDA devices, if CUDA is in use."""
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
    """The device type of the accelerator, such as "cuda"; None if there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if found is None else found.type


def capturing() -> bool:
    """Whether a CUDA graph is being captured; then nothing may be read from the device."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
