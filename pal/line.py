"""A loss restricted to a line: leave a point along a direction, evaluate, and come back bit by bit."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pal import kernels
from pal.kernels import Call
from pal.parabola import Scalar, select

CHUNK = 2**17
"""Numbers in one inner product: longer float32 sums lose digits, and all in float64 would take three times as long."""

LARGEST = 2**24
"""On accelerators, where sums are in float64, so that the copies stay small."""

FAITHFUL = (1e-24, 1e30)
"""Sums of float32 products between these have lost nothing to underflow and overflow."""


@dataclass(frozen=True, eq=False)
class LineRecord:
    """What one step saw on its line l(s) = loss(theta + s d/||d||): 0-dim tensors, on the device until someone reads.

    Distances (mu, step, norm) are Euclidean, in weight space. A field without meaning for an optimizer is NaN.

    Attributes:
        loss0: l(0).
        loss_mu: l(mu), at the probe.
        slope: l'(0), loss per distance.
        curvature: l'' = 2a, loss per squared distance.
        step: s, how far the weights went.
        norm: ||d||, norm of the direction over all parameters.
        case: code of `pal.parabola.Case`.
        clipped: whether s_max cut the step.
        evaluations: forward passes of this step, the first included.
    """

    loss0: Tensor
    loss_mu: Tensor
    slope: Tensor
    curvature: Tensor
    step: Tensor
    norm: Tensor
    case: Tensor
    clipped: Tensor
    evaluations: int

    @classmethod
    def of(cls, *numbers: Scalar, evaluations: int) -> "LineRecord":
        """The record from floats or tensors, in the order of the attributes."""
        tensors = [torch.as_tensor(n, dtype=torch.float64 if isinstance(n, float) else None) for n in numbers]
        loss0, loss_mu, slope, curvature, step, norm, case, clipped = tensors
        return cls(loss0, loss_mu, slope, curvature, step, norm, case, clipped, evaluations)

    @property
    def learning_rate(self) -> Tensor:
        """The factor of d, comparable with SGD's learning rate: step / norm, and 0 where the weights stayed."""
        return torch.where(self.step == 0, self.step, self.step / self.norm)


class Flat:
    """Room for a copy of real tensors of one device and dtype: one buffer, and a view of it for each tensor.

    Attributes:
        buffer: the memory.
        views: it as tensors, strided like those that are copied.
        pieces: it as vectors, short enough for inner products.
        in_rows: whether `in_pieces` cuts such tensors themselves into the same vectors.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in like]
        self.buffer = torch.zeros(sum(sizes), dtype=like[0].dtype, device=like[0].device)
        pieces = self.buffer.split(sizes)
        here = on_host(self.buffer)
        self.pieces: list[Tensor] = (
            [part for piece in pieces for part in pieces_of(piece)]
            if here
            else list(self.buffer.split(LARGEST))
        )
        self.views = [
            piece.as_strided(
                tensor.shape,
                tensor.stride() if is_dense(tensor) else rowwise(tensor.shape),
                piece.storage_offset(),
            )
            for tensor, piece in zip(like, pieces, strict=True)
        ]
        self.in_rows = here and all(view.is_contiguous() for view in self.views)

    def copy(self, tensors: list[Tensor]) -> None:
        """Take the values of the tensors."""
        kernels.copy_(self.views, tensors)

    def dot(self, other: "Flat") -> Scalar:
        """Inner product with another copy of such tensors; a float on the CPU, else a 0-dim tensor."""
        return dot(self.pieces, other.pieces)

    def dot_with(self, tensors: list[Tensor]) -> Scalar:
        """Inner product with such tensors themselves; afterwards the room may hold anything."""
        if self.buffer.itemsize < 4:  # whose products are beyond the range of such numbers
            return dot([view.reshape(-1) for view in self.views], [tensor.reshape(-1) for tensor in tensors])
        kernels.multiply_(self.views, tensors)
        if on_host(self.buffer):
            return sum(piece.sum().item() for piece in self.pieces)
        return self.buffer.sum(dtype=wide(self.buffer))

    def norm(self) -> Scalar:
        """Euclidean norm of everything; a float on the CPU, else a 0-dim tensor."""
        return root(self.dot(self))


class Movable:
    """Real tensors of one device and dtype that move along directions, all in one kernel where one fits.

    The fused kernel exists for the CPU and CUDA. On the CPU it skips elements of half precision before torch
    2.14; where the scale is a tensor it is read in float32.

    Args:
        tensors: what moves.
        foreach: whether one kernel may serve them all.
    """

    def __init__(self, tensors: Sequence[Tensor], foreach: bool = True) -> None:
        self.tensors = list(tensors)
        first = self.tensors[0]
        self.on_host = on_host(first)
        fits = (
            first.itemsize >= 4
            if self.on_host
            else first.device.type in ("cpu", "cuda") and first.itemsize < 8
        )
        self._strides = list(map(Tensor.stride, self.tensors))
        self._fused = foreach and fits and all(map(is_dense, self.tensors))

    def fits(self, direction: list[Tensor]) -> bool:
        """Whether one kernel can move along the direction, taking memory as it lies."""
        return (
            self._fused
            and direction[0].dtype == self.tensors[0].dtype
            and list(map(Tensor.stride, direction)) == self._strides
        )

    def descent(
        self, direction: list[Tensor], scale: Scalar, decay: float = 0.0, still: Tensor | None = None
    ) -> list[Call]:
        """Prepare: each tensor <- tensor - scale (direction + decay tensor).

        With a scale of zero, NaN or infinity every bit stays, whatever the direction holds; so too where `still` is 1.
        """
        first, fused = direction[0], self.fits(direction)
        if not isinstance(scale, Tensor):
            if scale == 0 or not math.isfinite(scale):
                return []
            if still is None:
                return kernels.descent(self.tensors, direction, scale, decay, fused)
            scale_here: float | Tensor = scale
        else:
            scale_here = scale.to(first.device, non_blocking=True)
            size = scale_here.abs()
            still = torch.where((size > 0) & (size < math.inf), 0.0, 1.0).float()
            scale_here = scale_here.float() if fused else scale_here
        return kernels.masked_descent(self.tensors, direction, scale_here, decay, still, fused)


class Origin:
    """Parameters of one device and dtype, with an exact copy of them: where a line starts.

    Args:
        params: the parameters, real.
        foreach: whether one kernel may serve them all.
    """

    def __init__(self, params: Sequence[Tensor], foreach: bool = True) -> None:
        self.params = list(params)
        self.room = Flat(self.params)
        self.movable = Movable(self.params, foreach)
        self.on_host = self.movable.on_host

    def save(self) -> None:
        """Make the present weights the origin."""
        self.room.copy(self.params)

    def restore(self) -> None:
        """Put the weights back, bit by bit."""
        kernels.copy_(self.params, self.room.views)

    def leaving(
        self, direction: list[Tensor], scale: Scalar, decay: float = 0.0, shrunk: Scalar = 0.0
    ) -> list[Call]:
        """Prepare: go to (1 - shrunk) theta - scale (direction + decay theta), from wherever the weights are."""
        return self.returning(shrunk) + self.movable.descent(direction, scale, decay)

    def returning(self, shrunk: Scalar = 0.0) -> list[Call]:
        """Prepare: go to (1 - shrunk) theta, from wherever the weights are."""
        back = [kernels.copying(self.params, self.room.views)]
        if isinstance(shrunk, Tensor) or shrunk:
            back.append(kernels.shrinking(self.params, shrunk))
        return back


class Line:
    """The line theta + s d/||d|| through the present weights theta.

    Args:
        params: the weights theta, of any shapes, devices and dtypes.
        direction: d, one tensor for each parameter, of its shape. It is read at every move: leave it unchanged.

    Attributes:
        norm: ||d|| over all parameters; a float on the CPU, else a 0-dim tensor.

    Raises:
        ValueError: if the direction does not match the parameters.

    >>> theta = torch.tensor([1.0, 1.0])
    >>> line = Line([theta], [torch.tensor([0.0, 2.0])])
    >>> line.move(0.5)
    >>> theta
    tensor([1.0000, 1.5000])
    >>> line.losses(lambda: theta.square().sum(), [0.0, 1.0, -1.0])
    tensor([2., 5., 1.])
    >>> theta  # where it was
    tensor([1.0000, 1.5000])
    >>> line.restore()
    >>> theta
    tensor([1., 1.])
    """

    @torch.no_grad()
    def __init__(self, params: Iterable[Tensor], direction: Iterable[Tensor]) -> None:
        kinds: defaultdict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for param, d in zip(params, direction, strict=True):
            if param.shape != d.shape:
                raise ValueError(
                    f"direction holds a {tuple(d.shape)} tensor for a {tuple(param.shape)} parameter"
                )
            kinds[param.device, param.dtype].append((real(param), real(d)))
        self._parts = [
            (Origin([param for param, _ in pairs]), [d for _, d in pairs]) for pairs in kinds.values()
        ]
        self._on_host = all(origin.on_host for origin, _ in self._parts)
        squares: list[Scalar] = []
        for origin, part in self._parts:
            origin.room.copy(part)
            squares.append(origin.room.dot(origin.room))
            origin.save()
        self.norm = root(total(squares, self._on_host))
        self._distance: Scalar = 0.0

    @torch.no_grad()
    def move(self, distance: Scalar) -> None:
        """Put the weights at theta + distance d/||d||, computed from theta whatever came before."""
        if self._on_host and isinstance(distance, Tensor):
            distance = distance.item()
        self.restore()
        scale = ratio(-distance, self.norm)
        for origin, direction in self._parts:
            kernels.run(origin.movable.descent(direction, scale), None)
        kernels.run(kernels.stale_caches(), None)
        self._distance = distance

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back to theta, bit by bit."""
        for origin, _ in self._parts:
            origin.restore()
        kernels.run(kernels.stale_caches(), None)
        self._distance = 0.0

    @torch.no_grad()
    def losses(self, closure: Callable[[], Tensor], distances: Iterable[Scalar]) -> Tensor:
        """The loss at many distances, [len(distances)]; afterwards the weights are where they were.

        No gradients, and no new tensors but the losses: a point costs one move and one forward pass.

        Args:
            closure: gives the loss at the present weights: `BatchLoss.again` for the batch of a step.
            distances: where on the line.
        """
        here = self._distance
        values: list[Tensor] = []
        try:
            for distance in distances:
                self.move(distance)
                values.append(closure().detach().clone())
        finally:
            self.move(here)
        return torch.stack(values)


def pieces_of(tensor: Tensor) -> Sequence[Tensor]:
    """A tensor as vectors short enough for inner products, row by row."""
    return tensor.reshape(-1).split(CHUNK)


def in_pieces(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors on the CPU as vectors, row by row: views where they are contiguous, as the pieces of a `Flat` in rows."""
    vectors = list(map(Tensor.ravel, tensors))
    if max(map(Tensor.numel, vectors)) <= CHUNK:
        return vectors
    return [
        piece for each in vectors for piece in (each.unsafe_split(CHUNK) if each.numel() > CHUNK else (each,))
    ]


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlap, in whatever order.

    >>> weight = torch.zeros(4, 6)
    >>> is_dense(weight.t()), is_dense(weight[:, ::2]), is_dense(weight.expand(2, 4, 6))
    (True, False, False)
    """
    filled = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != filled:
            return False
        filled *= size
    return True


def rowwise(shape: torch.Size) -> tuple[int, ...]:
    """Strides of a contiguous tensor.

    >>> rowwise(torch.Size([2, 3, 4]))
    (12, 4, 1)
    """
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def on_host(tensor: Tensor) -> bool:
    """Whether reading a number of the tensor costs nothing, so that numbers are floats; elsewhere nothing is read."""
    return tensor.device.type == "cpu"


def wide(tensor: Tensor) -> torch.dtype:
    """The most exact numbers of the tensor's device."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def real(tensor: Tensor) -> Tensor:
    """The tensor, or a view of its real and imaginary parts as numbers of their own."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Scalar:
    """Inner product of vectors in pieces, summed so that neither digits nor range are lost; a float on the
    CPU, else a 0-dim tensor.

    On the CPU float32 is tried first, and float64 where that may have underflowed or overflowed.
    """
    if not on_host(first[0]):
        dtype = wide(first[0])
        return torch.stack(
            [torch.dot(a.to(dtype), b.to(dtype)) for a, b in zip(first, second, strict=True)]
        ).sum()
    if first[0].itemsize >= 4 and first[0].dtype == second[0].dtype:
        products = sum(map(Tensor.item, map(torch.dot, first, second)))
        if first[0].itemsize == 8 or FAITHFUL[0] < abs(products) < FAITHFUL[1]:
            return products
    return sum(torch.dot(a.double(), b.double()).item() for a, b in zip(first, second, strict=True))


def total(numbers: Sequence[Scalar], on_host: bool) -> Scalar:
    """Sum of numbers from several devices, where the first is; a float on the CPU."""
    if on_host:
        return sum(numbers)
    first, *others = [torch.as_tensor(number) for number in numbers]
    return torch.stack(
        [first, *(other.to(first.device, first.dtype, non_blocking=True) for other in others)]
    ).sum()


def root(number: Scalar) -> Scalar:
    """Square root."""
    return number.sqrt() if isinstance(number, Tensor) else math.sqrt(number)


def ratio(number: Scalar, norm: Scalar) -> Scalar:
    """number / norm, and 0 where there is no direction: a norm of zero or NaN."""
    return select(norm > 0, number / select(norm > 0, norm, 1.0), 0.0)
