"""A loss restricted to a line: leave a point along a direction, evaluate, and come back bit by bit."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pal import kernels
from pal.parabola import Scalar, select

ROW = 1024  # elements summed at a time: float32 norms of millions of numbers in one go are wrong in the fifth digit
FEW = 64  # up to so many rows one go is exact enough, and a little faster


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
    """Room for a copy of tensors of one device and dtype: one buffer, and a view of it for each tensor.

    The buffer ends with zeros up to a full row, so that sums over rows need no special case.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in like]
        rows = math.ceil(sum(sizes) / ROW)
        self.buffer = torch.zeros(rows * ROW, dtype=like[0].dtype, device=like[0].device)
        self.scalar = torch.promote_types(self.buffer.dtype, torch.float32)
        self._rows = self.buffer.view(-1, ROW)
        starts = [0, *accumulate(sizes)]
        self.views = [
            self.buffer.as_strided(
                tensor.shape, tensor.stride() if is_dense(tensor) else rowwise(tensor.shape), start
            )
            for tensor, start in zip(like, starts[:-1], strict=True)
        ]

    def copy(self, tensors: list[Tensor]) -> None:
        """Take the values of the tensors."""
        kernels.copy_(self.views, tensors)

    def norm(self) -> Tensor:
        """Euclidean norm of everything, 0-dim."""
        if len(self._rows) <= FEW:
            return kernels.norm(self.buffer, self.scalar)
        return kernels.norm(kernels.norms(self._rows, self.scalar), self.scalar)

    def sum(self) -> Tensor:
        """Sum of everything, 0-dim."""
        return self.buffer.sum(dtype=self.scalar)


class Origin:
    """Parameters of one device and dtype, with an exact copy of them: where a line starts.

    Args:
        params: the parameters.
        foreach: whether one kernel may serve them all.
    """

    def __init__(self, params: Sequence[Tensor], foreach: bool = True) -> None:
        self.params = list(params)
        self.room = Flat(self.params)
        self.on_host = self.params[0].device.type == "cpu"
        # The fused kernel exists for the CPU and CUDA, and on CUDA reads the scale in float32.
        fits = self.params[0].device.type in ("cpu", "cuda") and self.room.scalar == torch.float32
        self._strides = [param.stride() for param in self.params]
        self._fused = foreach and fits and all(is_dense(param) for param in self.params)

    def save(self) -> None:
        """Make the present weights the origin."""
        self.room.copy(self.params)

    def restore(self) -> None:
        """Put the weights back, bit by bit."""
        kernels.copy_(self.params, self.room.views)

    def leave(self, direction: list[Tensor], scale: Scalar, decay: float = 0.0) -> None:
        """Go from the origin, where the weights must be, to theta - scale (direction + decay theta).

        With a scale of zero, NaN or infinity the weights keep every bit, whatever the direction holds.
        """
        if isinstance(scale, Tensor):
            scale = scale.to(self.params[0].device, non_blocking=True)
            size = scale.abs()
            still = torch.where((size > 0) & (size < math.inf), 0.0, 1.0).float()
        elif scale == 0 or not math.isfinite(scale):
            return
        else:
            still = None
        if self._fused and [d.stride() for d in direction] == self._strides:
            scale = scale.float() if isinstance(scale, Tensor) else scale
            kernels.descend_(self.params, direction, scale, decay, still)
        else:
            self._leave_one_by_one(direction, scale, still, decay)

    def _leave_one_by_one(
        self, direction: Sequence[Tensor], scale: Scalar, still: Tensor | None, decay: float
    ) -> None:
        for param, d in zip(self.params, direction, strict=True):
            moved = param - scale * (d + decay * param if decay else d)
            param.copy_(moved if still is None else torch.where(still > 0, param, moved))


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
            kinds[param.device, param.dtype].append((param, d))
        self._parts = [
            (Origin([param for param, _ in pairs]), [d for _, d in pairs]) for pairs in kinds.values()
        ]
        norms: list[Tensor] = []
        for origin, part in self._parts:
            origin.room.copy(part)
            norms.append(origin.room.norm())
            origin.save()
        self._on_host = all(origin.on_host for origin, _ in self._parts)
        self.norm = combined_norm(norms, self._on_host)
        self._distance: Scalar = 0.0

    @torch.no_grad()
    def move(self, distance: Scalar) -> None:
        """Put the weights at theta + distance d/||d||, computed from theta whatever came before."""
        if self._on_host and isinstance(distance, Tensor):
            distance = distance.item()
        self.restore()
        scale = ratio(-distance, self.norm)
        for origin, direction in self._parts:
            origin.leave(direction, scale)
        self._distance = distance

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back to theta, bit by bit."""
        for origin, _ in self._parts:
            origin.restore()
        self._distance = 0.0
        forget_casts()

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


def combined_norm(norms: Sequence[Tensor], on_host: bool) -> Scalar:
    """Norm of the whole from the norms of its parts, on the device of the first; a float on the CPU."""
    if on_host:
        return math.sqrt(sum(norm.item() ** 2 for norm in norms))
    first, *others = norms
    together = torch.stack([first, *(norm.to(first.device) for norm in others)])
    return kernels.norm(together, together.dtype)


def ratio(number: Scalar, norm: Scalar) -> Scalar:
    """number / norm, and 0 where there is no direction: a norm of zero or NaN."""
    return select(norm > 0, number / select(norm > 0, norm, 1.0), 0.0)


def forget_casts() -> None:
    """Make an autocast context around the step cast the weights anew: its cache does not notice that they moved."""
    torch.clear_autocast_cache()
