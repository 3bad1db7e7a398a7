"""Training steps as replays of a CUDA graph: the device goes from step to step without waiting for the host.

A step of a small network is about a thousand kernels of a few microseconds each, and the host may take longer to launch
one than the device to run it. A captured step is launched as a whole. It computes what an eager one does, with the same
random numbers; the first replay is compared with an eager step.

A graph knows tensors by their place in memory and numbers of the host by their value: batches come in the same tensors,
state changes in place only, and another learning rate asks for another graph. What cannot be captured stays eager.
"""

import gc
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from experiments.optimizers import ScheduledOptimizer
from pal.randomness import Randomness

WARM_UP = 3
"""Eager steps before a capture: they make the optimizer's state, and cuDNN chooses its kernels."""

TOLERANCE = 0.1
"""How far from an eager step a replayed one may end, as a part of the way, where kernels may sum in any order."""

LossFn = Callable[[], Tensor]


class Graphs(Protocol):
    """How a device captures."""

    def aside(self) -> AbstractContextManager[Any]:
        """Where the steps before a capture are taken."""
        ...

    def graph(self) -> Any:
        """A graph that holds nothing yet."""
        ...

    def capturing(self, graph: Any) -> AbstractContextManager[Any]:
        """Inside, work goes into the graph instead of being done."""
        ...


class CudaGraphs:
    """CUDA's way: warm up and capture on a stream of their own, replay on the usual one."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    @contextmanager
    def aside(self) -> Generator[None]:
        """The stream on which the capture will be."""
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)

    def graph(self) -> torch.cuda.CUDAGraph:
        """A graph that holds nothing yet."""
        return torch.cuda.CUDAGraph()

    @contextmanager
    def capturing(self, graph: torch.cuda.CUDAGraph) -> Generator[None]:
        """Capture; the thread that reads batches ahead may go on meanwhile.

        Before torch 2.14 a capture that fails leaves the generators in its mode: networks with dropout then end with an
        error instead of going on eagerly.
        """
        gc.collect()  # a graph that an earlier run has left must not be freed in the middle
        # The outer stream is there to come back from: before torch 2.15 a capture that fails does not.
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            yield


def graphs_of(device: torch.device) -> Graphs | None:
    """How the device captures; None if it does not."""
    return CudaGraphs() if device.type == "cuda" else None


class Captured:
    """Updates of a method: eager ones at first, then replays of a graph.

    Args:
        method: Whose updates; from now on it takes them here.
        model: What it trains.
        graphs: How the device captures.
        exact: Whether a replayed update must have the bits of an eager one, so that a run can be repeated.
        say: Told why updates stay eager, if they do.
    """

    def __init__(
        self,
        method: ScheduledOptimizer,
        model: nn.Module,
        graphs: Graphs,
        exact: bool,
        say: Callable[[str], None] = print,
    ) -> None:
        self._method, self._model, self._graphs = method, model, graphs
        self._tolerance = 0.0 if exact else TOLERANCE
        self._say = say
        self._eager, method.update = method.update, self
        self._able = True
        self.forget()
        if method.host_work is not None:
            self._give_up(method.host_work)

    def forget(self) -> None:
        """Capture anew, because the tensors or the numbers of an update are others."""
        self._replay: Callable[[], Tensor] | None = None
        self._numbers = self._method.numbers
        self._warm = 0

    def __call__(self, loss_fn: LossFn) -> Tensor:
        """One update; returns l(0), in memory that the next one may write to."""
        if not self._able:
            return self._eager(loss_fn)
        if self._numbers != self._method.numbers:
            self.forget()
        if self._replay is not None:
            return self._replay()
        if self._warm == WARM_UP:
            return self._first_replay(loss_fn)
        self._warm += 1
        return self._aside(loss_fn)

    def _first_replay(self, loss_fn: LossFn) -> Tensor:
        """Capture an update and replay it; if that does not do what an eager one does, stay eager."""
        here = Moment(
            {
                "weights": [*self._model.parameters()],
                "buffers": [*self._model.buffers()],
                "optimizer's state": self._method.tensors,
            }
        )
        loss = self._aside(loss_fn).clone()
        eager = here.now() | {"loss": [loss]}
        here.restore()
        try:
            self._replay = self._captured(loss_fn)
            replayed = self._replay()
            start = here.values | {"loss": [torch.zeros_like(loss)]}
            compare(start, eager, here.now() | {"loss": [replayed]}, self._tolerance)
        except Exception as error:
            reason = first_cause(error)
        else:
            return replayed
        here.restore()
        self._give_up(reason)
        return self._eager(loss_fn)

    def _captured(self, loss_fn: LossFn) -> Callable[[], Tensor]:
        """An update as a graph; nothing is done yet."""
        graph = self._graphs.graph()
        again = self._method.replayer(graph)
        with self._graphs.capturing(graph):
            loss = self._eager(loss_fn)

        def replay() -> Tensor:
            again()
            return loss

        return replay

    def _aside(self, loss_fn: LossFn) -> Tensor:
        with self._graphs.aside():
            return self._eager(loss_fn)

    def _give_up(self, reason: str) -> None:
        self._able, self._replay = False, None
        self._say(f"steps are not captured in a graph: {reason}")


def first_cause(error: BaseException) -> str:
    """What went wrong first: when a capture has failed, what follows and ending it fail too.

    Only the words are kept. An error holds the frames it went through, and these the tensors of the step.
    """
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


Values = Mapping[str, Sequence[Tensor]]


class Moment:
    """Tensors, by the names of their kinds, and random generators as they are now.

    Attributes:
        values: Copies of the tensors.
    """

    def __init__(self, tensors: Values) -> None:
        self._tensors = tensors
        self.values = self.now()
        self._randomness = Randomness()

    def now(self) -> dict[str, list[Tensor]]:
        """Copies of what the tensors hold at present."""
        return {name: [one.detach().clone() for one in kind] for name, kind in self._tensors.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, bit by bit and in place."""
        for name, kind in self._tensors.items():
            for tensor, value in zip(kind, self.values[name], strict=True):
                tensor.copy_(value)
        self._randomness.restore()


class Different(RuntimeError):
    """A replayed update is not the eager one."""


def compare(start: Values, eager: Values, replayed: Values, tolerance: float) -> None:
    """Raise Different if a replayed update did something else than an eager one.

    Args:
        start: What both began with.
        eager: What the eager one made of it.
        replayed: What the replayed one made of it.
        tolerance: How far apart they may end, as a part of the eager one's way.
    """
    for name, expected in eager.items():
        way, error = distance(start[name], expected), distance(expected, replayed[name])
        if not error <= tolerance * way:  # nor if either is NaN
            raise Different(
                f"the {name} of a replayed step are {error:.3g} from an eager one's, which went {way:.3g}"
            )


def distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Euclidean, over all tensors."""
    apart = (torch.dist(one.double(), other.double()) for one, other in zip(first, second, strict=True))
    return math.hypot(*(one.item() for one in apart))
