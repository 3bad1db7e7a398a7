"""A loss restricted to a line: leave a point along a direction, evaluate, and come back bit by bit."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pal.parabola import Scalar

ROW = 1024  # elements summed at a time: a plain float32 norm of millions of numbers is wrong in the fifth digit


@dataclass(frozen=True, eq=False)
class LineRecord:
    """What one step saw on its line l(s) = loss(theta + s d/||d||). All fields are 0-dim tensors, never read so far.

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

    @property
    def learning_rate(self) -> Tensor:
        """The factor of d: step / norm, 0 where there is no direction."""
        return torch.where(self.step > 0, self.step / self.norm, 0.0)


def on_host(tensors: Iterable[Tensor]) -> bool:
    """Whether all tensors are on the CPU, where reading a number costs nothing."""
    return all(tensor.device.type == "cpu" for tensor in tensors)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlap, in whatever order."""
    strides = sorted(zip(tensor.stride(), tensor.shape, strict=True))
    expected = 1
    for stride, size in strides:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


class Flat:
    """Room for a copy of some tensors of one device and dtype: one buffer, and a view of it for each tensor."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        self.size = sum(tensor.numel() for tensor in like)
        rows = math.ceil(self.size / ROW)
        self.buffer = torch.zeros(rows * ROW, dtype=like[0].dtype, device=like[0].device)
        pieces = self.buffer[: self.size].split([tensor.numel() for tensor in like])
        self.views = [
            piece.as_strided(tensor.shape, tensor.stride()) if is_dense(tensor) else piece.view(tensor.shape)
            for piece, tensor in zip(pieces, like, strict=True)
        ]

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Take the values of the tensors."""
        torch._foreach_copy_(self.views, list(tensors))

    def norm(self) -> Tensor:
        """Euclidean norm, 0-dim, in float32 or better."""
        rows = self.buffer.view(-1, ROW)
        dtype = torch.promote_types(self.buffer.dtype, torch.float32)
        return torch.linalg.vector_norm(torch.linalg.vector_norm(rows, dim=1, dtype=dtype))


def lengths(norms: Sequence[Tensor], host: bool) -> Scalar:
    """Norm of the whole from the norms of its parts."""
    if host:
        return math.hypot(*(norm.item() for norm in norms))
    if len(norms) == 1:
        return norms[0]
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))


class Origin:
    """Parameters of one device and dtype, with an exact copy of where a line starts."""

    def __init__(self, params: Sequence[Tensor], multi_tensor: bool = True) -> None:
        self.params = list(params)
        self.saved = Flat(self.params)
        dense = all(is_dense(param) for param in self.params)
        self.host = on_host(self.params)
        exact = self.host or (self.params[0].dtype != torch.float64 and self.params[0].is_cuda)
        self.multi_tensor = multi_tensor and dense and exact

    def save(self) -> None:
        """Make the present weights the origin."""
        self.saved.copy(self.params)

    def restore(self) -> None:
        """Put the weights back, bit by bit."""
        torch._foreach_copy_(self.params, self.saved.views)

    def leave(self, direction: Sequence[Tensor], scale: Scalar, decay: float = 0.0) -> None:
        """From the origin: theta <- theta - scale (direction + decay theta).

        Weights that are not to move (scale zero or NaN) keep every bit, whatever the direction holds.
        """
        if not isinstance(scale, Tensor):
            if scale != 0 and math.isfinite(scale):
                self._leave(direction, scale, None, decay)
        else:
            scale = scale.to(self.params[0].device)
            still = torch.where(scale.abs() > 0, 0.0, 1.0)
            self._leave(direction, scale, still, decay)

    def _leave(self, direction: Sequence[Tensor], scale: Scalar, still: Tensor | None, decay: float) -> None:
        if self.multi_tensor and all(p.stride() == d.stride() for p, d in zip(self.params, direction)):
            # One kernel for all tensors: without momentum this is SGD's update, and found_inf leaves weights alone.
            torch._fused_sgd_(
                self.params, list(direction), [], weight_decay=decay, momentum=0.0, dampening=0.0, nesterov=False,
                lr=scale.float() if isinstance(scale, Tensor) else scale, maximize=False, is_first_step=False,
                grad_scale=None, found_inf=still,
            )  # fmt: skip
            return
        for param, d in zip(self.params, direction, strict=True):
            moved = param - scale * (d + decay * param if decay else d)
            param.copy_(moved if still is None else torch.where(still > 0, param, moved))


class Line:
    """The line theta + s d/||d|| through the present weights theta.

    Args:
        params: the weights theta, any shapes, devices and dtypes.
        direction: d, one tensor for each parameter, of its shape. Read at every move: do not change it meanwhile.

    Raises:
        ValueError: if the direction does not match the parameters.

    >>> theta = torch.tensor([1.0, 1.0])
    >>> line = Line([theta], [torch.tensor([0.0, 2.0])])
    >>> line.move(0.5)
    >>> theta
    tensor([1.0000, 1.5000])
    >>> line.losses(lambda: theta.square().sum(), [0.0, 1.0, -1.0])
    tensor([2., 5., 1.])
    >>> theta  # as before
    tensor([1.0000, 1.5000])
    >>> line.restore()
    >>> theta
    tensor([1., 1.])
    """

    def __init__(self, params: Iterable[Tensor], direction: Iterable[Tensor]) -> None:
        self._parts: list[tuple[Origin, list[Tensor]]] = []
        kinds: defaultdict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for param, d in zip(params, direction, strict=True):
            if param.shape != d.shape:
                raise ValueError(f"direction has a tensor of shape {tuple(d.shape)} for a parameter of {tuple(param.shape)}")
            kinds[param.device, param.dtype].append((param, d))
        with torch.no_grad():
            norms: list[Tensor] = []
            for pairs in kinds.values():
                origin, part = Origin([param for param, _ in pairs]), [d for _, d in pairs]
                origin.saved.copy(part)
                norms.append(origin.saved.norm())
                origin.save()
                self._parts.append((origin, part))
            self._host = all(origin.host for origin, _ in self._parts)
            self.norm: Scalar = lengths(norms, self._host)
        self.distance: Scalar = 0.0

    @torch.no_grad()
    def move(self, distance: Scalar) -> None:
        """Put the weights at theta + distance * d/||d||, computed from theta whatever came before."""
        if self._host and isinstance(distance, Tensor):
            distance = distance.item()
        for origin, direction in self._parts:
            origin.restore()
            origin.leave(direction, -distance / self.norm)
        torch.clear_autocast_cache()  # else a surrounding autocast goes on with weights cast before the move
        self.distance = distance

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back to theta, bit by bit."""
        for origin, _ in self._parts:
            origin.restore()
        torch.clear_autocast_cache()
        self.distance = 0.0

    @torch.no_grad()
    def losses(self, closure: Callable[[], Tensor], distances: Sequence[float] | Tensor) -> Tensor:
        """The loss at many distances, [len(distances)]; afterwards the weights are where they were.

        No gradient and no new tensor but the losses: what a point costs is one forward pass and one move.

        Args:
            closure: gives the loss at the present weights; `BatchLoss.again` for the batch of a step.
            distances: where on the line, along d/||d||.
        """
        here = self.distance
        try:
            values: list[Tensor] = []
            for distance in distances:
                self.move(distance)
                values.append(closure().detach().clone())
            return torch.stack(values)
        finally:
            self.move(here)
