"""Training steps as replays of a CUDA graph, so that the device does not wait for the host.

A step of a small network consists of about a thousand kernels of a few microseconds each, and the host may take longer
to launch one than the device to run it. A captured step is launched as a whole. It computes the same as an eager step,
with the same random numbers; the first replay is compared with an eager step.

A graph refers to tensors by their memory and contains numbers on the host as constants. So batches are copied into the
same tensors, state changes in place only, and another learning rate needs another graph. Steps that cannot be captured
stay eager.
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
"""Eager steps before a capture, in which the optimizer creates its state and cuDNN chooses its kernels."""

TOLERANCE = 0.1
"""Allowed difference between a replayed and an eager step, relative to its length, if not deterministic."""

LossFn = Callable[[], Tensor]


class Graphs(Protocol):
    """How a device captures graphs."""

    def aside(self) -> AbstractContextManager[Any]:
        """A context for the steps before a capture."""
        ...

    def graph(self) -> Any:
        """A new, empty graph."""
        ...

    def capturing(self, graph: Any) -> AbstractContextManager[Any]:
        """A context in which operations are captured in the graph instead of being executed."""
        ...


class CudaGraphs:
    """CUDA graphs: warm up and capture on a side stream, replay on the current one."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    @contextmanager
    def aside(self) -> Generator[None]:
        """The stream of the capture."""
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)

    def graph(self) -> torch.cuda.CUDAGraph:
        """A new, empty graph."""
        return torch.cuda.CUDAGraph()

    @contextmanager
    def capturing(self, graph: torch.cuda.CUDAGraph) -> Generator[None]:
        """Capture, while the thread that prefetches batches may continue.

        Before torch 2.14, a failed capture leaves the generators in capture mode: networks with dropout then stop with
        an error instead of continuing eagerly.
        """
        gc.collect()  # a graph that an earlier run left behind must not be freed during the capture
        # The outer context restores the current stream, which a failed capture does not before torch 2.15.
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            yield


def graphs_of(device: torch.device) -> Graphs | None:
    """How the device captures graphs; None if it cannot."""
    return CudaGraphs() if device.type == "cuda" else None


class Captured:
    """The updates of an optimizer: a few eager ones, then replays of a graph.

    Args:
        method: The optimizer, whose updates this object replaces.
        model: The model that it trains.
        graphs: How the device captures graphs.
        exact: Whether a replayed update must be bitwise identical to an eager one.
        say: Called with the reason if updates stay eager.
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
        """Discard the graph, because tensors or numbers of the update have changed."""
        self._replay: Callable[[], Tensor] | None = None
        self._numbers = self._method.numbers
        self._warm = 0

    def __call__(self, loss_fn: LossFn) -> Tensor:
        """One update; returns l(0), in memory that the next update may overwrite."""
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
        """Capture an update and replay it; if the result differs from an eager update, stay eager."""
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
        """Capture an update without executing it; returns the function that replays it."""
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
    """The message of the first error: after a failed capture, later operations and the end of the capture fail, too.

    Only the text is kept, since an error refers to its frames, and these to the tensors of the step.
    """
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


Values = Mapping[str, Sequence[Tensor]]


class Moment:
    """A snapshot of tensors, grouped by name, and of random generators.

    Attributes:
        values: Copies of the tensors.
    """

    def __init__(self, tensors: Values) -> None:
        self._tensors = tensors
        self.values = self.now()
        self._randomness = Randomness()

    def now(self) -> dict[str, list[Tensor]]:
        """Copies of the current values of the tensors."""
        return {name: [one.detach().clone() for one in kind] for name, kind in self._tensors.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Restore everything in place, bitwise."""
        for name, kind in self._tensors.items():
            for tensor, value in zip(kind, self.values[name], strict=True):
                tensor.copy_(value)
        self._randomness.restore()


class Different(RuntimeError):
    """A replayed update differs from the eager one."""


def compare(start: Values, eager: Values, replayed: Values, tolerance: float) -> None:
    """Raise Different if a replayed update differs from an eager one.

    Args:
        start: Values before the updates.
        eager: Values after the eager update.
        replayed: Values after the replayed update.
        tolerance: Allowed distance between the results, relative to the length of the eager update.
    """
    for name, expected in eager.items():
        way, error = distance(start[name], expected), distance(expected, replayed[name])
        if not error <= tolerance * way:  # also if either is NaN
            raise Different(
                f"the {name} of a replayed step are {error:.3g} from an eager one's, which went {way:.3g}"
            )


def distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Euclidean distance over all tensors."""
    apart = (torch.dist(one.double(), other.double()) for one, other in zip(first, second, strict=True))
    return math.hypot(*(one.item() for one in apart))
