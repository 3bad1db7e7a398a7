"""A loss restricted to a line: move along a direction, evaluate, and restore the weights bitwise."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from pal import kernels
from pal.kernels import Call
from pal.parabola import Scalar

CPU_CHUNK = 2**17
"""Elements per inner product on the CPU: longer float32 sums lose digits, and float64 takes three times as long."""

DEVICE_CHUNK = 2**24
"""Elements per inner product on an accelerator: sums are in float64 there, and this keeps the copies small."""

EXACT_RANGE = (1e-24, 1e30)
"""A float32 sum of products whose absolute value is in this range is not affected by underflow or overflow."""


@dataclass(frozen=True, eq=False)
class LineRecord:
    """What one step measured on its line l(s) = loss(theta + s d/||d||), as 0-dim tensors on the weights' device.

    Distances (mu, step) are Euclidean, in weight space. A field that an optimizer does not measure is NaN.

    Attributes:
        loss0: l(0).
        loss_mu: l(mu), at the probe.
        slope: l'(0), loss per distance.
        curvature: l'' = 2a, loss per squared distance.
        step: s, the distance that the weights moved.
        norm: ||d||, over all parameters.
        case: value of `pal.parabola.Case`.
        clipped: whether s_max limited the step.
        evaluations: number of forward passes, including the first.
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
        """Make a record from floats or tensors, given in the order of the attributes."""
        tensors = [torch.as_tensor(n, dtype=torch.float64 if isinstance(n, float) else None) for n in numbers]
        loss0, loss_mu, slope, curvature, step, norm, case, clipped = tensors
        return cls(loss0, loss_mu, slope, curvature, step, norm, case, clipped, evaluations)

    @property
    def learning_rate(self) -> Tensor:
        """The equivalent learning rate of SGD, step / norm; 0 where the weights did not move."""
        return torch.where(self.step == 0, self.step, self.step / self.norm)


class FlatBuffer:
    """One buffer for a copy of many real tensors of one device and dtype.

    Attributes:
        buffer: the memory, 1-dim.
        views: a view of the buffer for each tensor, with the tensor's shape and, if it is dense, its strides.
        chunks: views of the buffer as vectors that are short enough for accurate inner products.
        contiguous: whether the buffer is on the CPU and all views are contiguous; then `chunks_of` splits
            contiguous tensors of these shapes into the same vectors, without copying them into the buffer first.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in like]
        self.buffer = torch.zeros(sum(sizes), dtype=like[0].dtype, device=like[0].device)
        pieces = self.buffer.split(sizes)
        host = on_host(self.buffer)
        self.chunks: list[Tensor] = (
            [chunk for piece in pieces for chunk in piece.split(CPU_CHUNK)]
            if host
            else list(self.buffer.split(DEVICE_CHUNK))
        )
        self.views = [
            piece.as_strided(
                tensor.shape,
                tensor.stride() if is_dense(tensor) else torch.empty(tensor.shape, device="meta").stride(),
                piece.storage_offset(),
            )
            for tensor, piece in zip(like, pieces, strict=True)
        ]
        self.contiguous = host and all(view.is_contiguous() for view in self.views)

    def copy(self, tensors: list[Tensor]) -> None:
        """Copy the tensors into the buffer."""
        kernels.copy_(self.views, tensors)

    def dot(self, other: "FlatBuffer") -> Scalar:
        """Inner product with another buffer of the same shapes; a float on the CPU, else a 0-dim tensor."""
        return dot(self.chunks, other.chunks)

    def dot_with(self, tensors: list[Tensor]) -> Scalar:
        """Inner product with tensors of the same shapes; overwrites the buffer."""
        if self.buffer.itemsize < 4:  # products may be outside the range of half precision
            return dot([view.reshape(-1) for view in self.views], [tensor.reshape(-1) for tensor in tensors])
        kernels.multiply_(self.views, tensors)
        if on_host(self.buffer):
            return sum(chunk.sum().item() for chunk in self.chunks)
        return self.buffer.sum(dtype=widest_dtype(self.buffer))


class Movable:
    """Real tensors of one device and dtype that move along directions, in one fused kernel if possible.

    The fused kernel exists for the CPU and CUDA. It is not used for half precision on the CPU, where it skips elements
    before torch 2.14, nor for float64 on CUDA, where it reads a scale that is a tensor in float32.

    Args:
        tensors: the tensors to move.
        foreach: whether multi-tensor kernels may be used.
    """

    def __init__(self, tensors: Sequence[Tensor], foreach: bool = True) -> None:
        self.tensors = list(tensors)
        first = self.tensors[0]
        self.on_host = on_host(first)
        supported = (
            first.itemsize >= 4
            if self.on_host
            else first.device.type in ("cpu", "cuda") and first.itemsize < 8
        )
        self._strides = list(map(Tensor.stride, self.tensors))
        self._fused = foreach and supported and all(map(is_dense, self.tensors))

    def fuses(self, direction: list[Tensor]) -> bool:
        """Whether the fused kernel, which ignores strides, can move the tensors along the direction."""
        return (
            self._fused
            and direction[0].dtype == self.tensors[0].dtype
            and list(map(Tensor.stride, direction)) == self._strides
        )

    def prepare_descent(
        self, direction: list[Tensor], scale: Scalar, decay: float = 0.0, skip: Tensor | None = None
    ) -> list[Call]:
        """Prepare tensor <- tensor - scale (direction + decay tensor).

        If the scale is zero, NaN or infinite, or `skip` is 1, the tensors stay bitwise unchanged, even if the direction
        is NaN.
        """
        first, fused = direction[0], self.fuses(direction)
        if not isinstance(scale, Tensor):
            if scale == 0 or not math.isfinite(scale):
                return []
            if skip is None:
                return kernels.prepare_descent(self.tensors, direction, scale, decay, fused)
            device_scale: float | Tensor = scale
        else:
            device_scale = scale.to(first.device, non_blocking=True)
            size = device_scale.abs()
            skip = torch.where((size > 0) & (size < math.inf), 0.0, 1.0).float()
            device_scale = device_scale.float() if fused else device_scale
        return kernels.prepare_masked_descent(self.tensors, direction, device_scale, decay, skip, fused)


class Origin:
    """Parameters of one device and dtype with an exact copy of them, the point where a line starts.

    Args:
        params: real parameters.
        foreach: whether multi-tensor kernels may be used.

    Attributes:
        flat: the copy; before the weights move, its memory may serve as scratch.
    """

    def __init__(self, params: Sequence[Tensor], foreach: bool = True) -> None:
        self.params = list(params)
        self.flat = FlatBuffer(self.params)
        self.movable = Movable(self.params, foreach)
        self.on_host = self.movable.on_host

    def save(self) -> None:
        """Make the current weights the origin."""
        self.flat.copy(self.params)

    def restore(self) -> None:
        """Move the weights back to the origin, bitwise."""
        kernels.copy_(self.params, self.flat.views)

    def prepare_move(
        self, direction: list[Tensor], scale: Scalar, decay: float = 0.0, share: Scalar = 0.0
    ) -> list[Call]:
        """Prepare params <- (1 - share) theta - scale (direction + decay theta), with theta the origin."""
        if self.on_host and not (decay or share) and is_nonzero(scale) and self.movable.fuses(direction):
            return kernels.prepare_sums(self.params, self.flat.views, direction, -scale)
        return self.prepare_return(share) + self.movable.prepare_descent(direction, scale, decay)

    def prepare_return(self, share: Scalar = 0.0) -> list[Call]:
        """Prepare params <- (1 - share) theta, with theta the origin."""
        calls = [kernels.prepare_copy(self.params, self.flat.views)]
        if isinstance(share, Tensor) or share:
            calls.append(kernels.prepare_shrink(self.params, share))
        return calls


class Line:
    """The line theta + s d/||d|| through the current weights theta.

    Args:
        params: the weights theta, of any shapes, devices and dtypes.
        direction: d, one tensor for each parameter, of the same shape. Every move reads it, so do not modify it.

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
    >>> theta  # unchanged
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
            kinds[param.device, param.dtype].append((as_real(param), as_real(d)))
        self._parts = [
            (Origin([param for param, _ in pairs]), [d for _, d in pairs]) for pairs in kinds.values()
        ]
        self._on_host = all(origin.on_host for origin, _ in self._parts)
        squares: list[Scalar] = []
        for origin, part in self._parts:
            origin.flat.copy(part)
            squares.append(origin.flat.dot(origin.flat))
            origin.save()
        self.norm = sqrt(total(squares, self._on_host))
        self._distance: Scalar = 0.0

    @torch.no_grad()
    def move(self, distance: Scalar) -> None:
        """Set the weights to theta + distance d/||d||, computed from theta: rounding does not accumulate over moves."""
        if self._on_host and isinstance(distance, Tensor):
            distance = distance.item()
        self.restore()
        scale = safe_ratio(-distance, self.norm)
        for origin, direction in self._parts:
            kernels.run(origin.movable.prepare_descent(direction, scale), None)
        kernels.run(kernels.prepare_clear_caches(), None)
        self._distance = distance

    @torch.no_grad()
    def restore(self) -> None:
        """Set the weights back to theta, bitwise."""
        for origin, _ in self._parts:
            origin.restore()
        kernels.run(kernels.prepare_clear_caches(), None)
        self._distance = 0.0

    @torch.no_grad()
    def losses(self, closure: Callable[[], Tensor], distances: Iterable[Scalar]) -> Tensor:
        """Evaluate the loss at several distances; afterwards the weights are where they were before.

        Each point costs one move and one forward pass, without gradients.

        Args:
            closure: returns the loss at the current weights, such as `BatchLoss.reevaluate` for the batch of a step.
            distances: positions s on the line.

        Returns:
            The losses, [len(distances)].
        """
        distance_before = self._distance
        values: list[Tensor] = []
        try:
            for distance in distances:
                self.move(distance)
                values.append(closure().detach().clone())
        finally:
            self.move(distance_before)
        return torch.stack(values)


def is_nonzero(scale: Scalar) -> TypeGuard[float]:
    """Whether a scale is a Python number, finite and not zero."""
    return not isinstance(scale, Tensor) and scale != 0 and math.isfinite(scale)


def chunks_of(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Split tensors on the CPU into vectors like `FlatBuffer.chunks`; contiguous tensors are not copied."""
    vectors = list(map(Tensor.ravel, tensors))
    if max(map(Tensor.numel, vectors)) <= CPU_CHUNK:
        return vectors
    return [
        chunk
        for each in vectors
        for chunk in (each.unsafe_split(CPU_CHUNK) if each.numel() > CPU_CHUNK else (each,))
    ]


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlap, in any order.

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


def on_host(tensor: Tensor) -> bool:
    """Whether numbers of the tensor can be read without waiting for a device; then scalars are floats, else tensors."""
    return tensor.device.type == "cpu"


def widest_dtype(tensor: Tensor) -> torch.dtype:
    """The most precise floating-point type of the tensor's device."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def as_real(tensor: Tensor) -> Tensor:
    """The tensor itself if it is real, else a view of its real and imaginary parts."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Scalar:
    """Inner product of two vectors that are split into chunks; a float on the CPU, else a 0-dim tensor.

    Sums are in the widest type of the device, so that no precision or range is lost. On the CPU, chunks are summed
    in float32 first, and again in float64 if that may have underflowed or overflowed.
    """
    if not on_host(first[0]):
        dtype = widest_dtype(first[0])
        return torch.stack(
            [torch.dot(a.to(dtype), b.to(dtype)) for a, b in zip(first, second, strict=True)]
        ).sum()
    if first[0].itemsize >= 4 and first[0].dtype == second[0].dtype:
        products = sum(map(Tensor.item, map(torch.dot, first, second)))
        if first[0].itemsize == 8 or EXACT_RANGE[0] < abs(products) < EXACT_RANGE[1]:
            return products
    return sum(torch.dot(a.double(), b.double()).item() for a, b in zip(first, second, strict=True))


def total(numbers: Sequence[Scalar], on_host: bool) -> Scalar:
    """Sum of numbers that may be on several devices, on the device of the first; a float on the CPU."""
    if len(numbers) == 1:
        return numbers[0]
    if on_host:
        return sum(numbers)
    first, *others = [torch.as_tensor(number) for number in numbers]
    return torch.stack(
        [first, *(other.to(first.device, first.dtype, non_blocking=True) for other in others)]
    ).sum()


def sqrt(number: Scalar) -> Scalar:
    """Square root of a float or a tensor."""
    return number.sqrt() if isinstance(number, Tensor) else math.sqrt(number)


def safe_ratio(number: Scalar, norm: Scalar) -> Scalar:
    """number / norm, or 0 if the norm is zero or NaN: then there is no direction."""
    if isinstance(norm, Tensor):
        return torch.where(norm > 0, number / torch.where(norm > 0, norm, 1.0), 0.0)
    return number / norm if norm > 0 else 0.0
