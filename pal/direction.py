"""The direction of a step: d = -m with m = beta m + g, one line for all parameters."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pal import kernels
from pal.line import Flat, Origin, combined_norm, forget_casts, ratio
from pal.parabola import Scalar


class Decay(NamedTuple):
    """Weight decay of a parameter: the factor, and whether it stays out of the line's loss."""

    factor: float
    decoupled: bool


class Slope(NamedTuple):
    """The direction in two numbers: norm ||m||, and value l'(0) = -g.m / ||m||, loss per distance."""

    norm: Scalar
    value: Scalar


class Penalty(NamedTuple):
    """The L2 term of some parameters, factor/2 ||theta - scale m||², known on the whole line from three numbers."""

    factor: float
    size: Scalar  # ||theta||
    pull: Scalar  # theta.m
    length: Scalar  # ||m||

    def at(self, scale: Scalar) -> Scalar:
        """The term where theta - scale m is."""
        moved = self.size * self.size - 2 * scale * self.pull + scale * scale * self.length * self.length
        return self.factor / 2 * moved


class Part:
    """Parameters of one device, dtype and weight decay, with what a step needs of them: at most two copies.

    One copy is the origin of the line; before the step leaves it, it serves as scratch. The other, only for beta > 0,
    is m. For beta = 0 the direction is the gradient itself.
    """

    def __init__(self, params: list[Tensor], decay: Decay, adapted: bool, foreach: bool) -> None:
        self.params = params
        self.origin = Origin(params, foreach)
        self.adapted = Flat(params) if adapted else None
        self.l2 = 0.0 if decay.decoupled else decay.factor
        self._decoupled = decay.factor if decay.decoupled else 0.0
        self._gradients: list[Tensor] = []

    def take_gradient(self, sign: float) -> Tensor:
        """Fill the scratch with g, the gradient of what is minimised; give ||g||."""
        room = self.origin.room
        self._gradients = [param.grad for param in self.params if param.grad is not None]
        room.copy(self._gradients)
        if sign < 0:
            room.buffer.neg_()
        if self.l2:
            kernels.add_(room.views, self.params, self.l2)
        return room.norm()

    def adapt(self, beta: float, finite: bool | Tensor) -> tuple[Tensor, Tensor]:
        """m <- beta m + g, unless the gradient is not finite: then m stays. Give ||m|| and g.m."""
        room, m = self.origin.room, self.adapted
        assert m is not None
        if isinstance(finite, Tensor):
            finite = finite.to(m.buffer.device, non_blocking=True)
            room.buffer.masked_fill_(~finite, 0.0)
            kept = torch.full((), beta, dtype=m.scalar, device=m.buffer.device)
            m.buffer.mul_(torch.where(finite, kept, 1.0)).add_(room.buffer)
        elif finite:
            m.buffer.mul_(beta).add_(room.buffer)
        room.buffer.mul_(m.buffer)
        return m.norm(), room.sum()

    def save(self) -> tuple[Tensor, Tensor] | None:
        """Make the present weights theta the origin; give ||theta|| and theta.m where the loss has an L2 term."""
        room = self.origin.room
        if not self.l2:
            self.origin.save()
            return None
        if self.adapted is None:
            kernels.mul_(room.views, self.params)  # the scratch still holds g
        else:
            room.copy(self.params)
            room.buffer.mul_(self.adapted.buffer)
        pull = room.sum()
        self.origin.save()
        return room.norm(), pull

    def leave(self, scale: Scalar, sign: float, final: bool) -> None:
        """theta <- theta - scale m, from the origin; a decoupled decay joins in the final move."""
        decay = self._decoupled if final else 0.0
        if self.adapted is not None:
            self.origin.leave(self.adapted.views, scale, decay)
        else:
            self.origin.leave(self._gradients, sign * scale, sign * (self.l2 + decay))
        if final:
            self._gradients = []  # or they would outlive zero_grad and lie beside the next step's activations


class Direction:
    """The direction over all parameters that have a gradient, and the line along it.

    Args:
        groups: parameter groups of PAL.

    Raises:
        RuntimeError: if no parameter has a gradient, or one has a sparse gradient.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        first = groups[0]
        self._sign = -1.0 if first["maximize"] else 1.0
        kinds: defaultdict[tuple[torch.device, torch.dtype, Decay], list[Tensor]] = defaultdict(list)
        for group in groups:
            decay = Decay(group["weight_decay"], group["decoupled_weight_decay"])
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.layout != torch.strided:
                    raise RuntimeError(
                        "PAL does not support sparse gradients: build embeddings with sparse=False"
                    )
                kinds[param.device, param.dtype, decay].append(param)
        if not kinds:
            raise RuntimeError(
                "no parameter given to PAL has a gradient: the loss does not depend on any of them"
            )
        foreach = first["foreach"] is not False
        self._parts = [Part(params, kind[2], first["beta"] > 0, foreach) for kind, params in kinds.items()]
        self.on_host = all(part.origin.on_host for part in self._parts)
        self.device = self._parts[0].params[0].device
        self._norm: Scalar = 0.0
        self._penalties: list[Penalty] = []

    def adopt(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """Take over m from the state of an earlier direction or a checkpoint, and keep it there."""
        for kept in state.values():
            if "direction" in kept:
                kept["direction"] = kept["direction"].clone()  # out of the buffer of an earlier direction
        for part in self._parts:
            if part.adapted is not None:
                for param, m in zip(part.params, part.adapted.views, strict=True):
                    if "direction" in state[param]:
                        m.copy_(state[param]["direction"])
                    state[param]["direction"] = m

    def scalar(self, number: float | Tensor) -> Scalar:
        """The number where the line's numbers live."""
        if isinstance(number, Tensor):
            return number.item() if self.on_host else number.to(self.device, non_blocking=True)
        return number

    def loss(self, loss: Tensor, distance: Scalar = 0.0) -> Scalar:
        """The line's loss from the closure's: its sign, and the L2 term l2/2 ||theta + distance d/||d|| ||²."""
        value = self._sign * self.scalar(loss)
        for penalty in self._penalties:
            value = value + penalty.at(ratio(distance, self._norm))
        return value

    def take(self, beta: float) -> Slope:
        """Start a line: take the gradients, and the present weights as its origin."""
        norms = [part.take_gradient(self._sign) for part in self._parts]
        norm = combined_norm(norms, self.on_host)
        value = -norm
        if beta > 0:
            finite = norm.isfinite() if isinstance(norm, Tensor) else math.isfinite(norm)
            adapted = [part.adapt(beta, finite) for part in self._parts]
            norms = [length for length, _ in adapted]
            unknown = norm - norm  # zero, or NaN for a gradient that is not finite, which m did not take in
            norm = combined_norm(norms, self.on_host)
            value = unknown - ratio(self._total([dot for _, dot in adapted]), norm)
        self._norm = norm
        self._penalties = []
        for part, length in zip(self._parts, norms, strict=True):
            saved = part.save()
            if saved is not None:
                size, pull, length = (self._total([number]) for number in (*saved, length))
                self._penalties.append(Penalty(part.l2, size, pull, length))
        return Slope(norm, value)

    def leave(self, distance: Scalar, final: bool = False) -> None:
        """From the origin to theta + distance d/||d||; the final move brings decoupled weight decay."""
        scale = ratio(distance, self._norm)
        for part in self._parts:
            part.leave(scale, self._sign, final)
        forget_casts()

    def restore(self) -> None:
        """Back to the origin, bit by bit."""
        for part in self._parts:
            part.origin.restore()
        forget_casts()

    def _total(self, values: Sequence[Tensor]) -> Scalar:
        if self.on_host:
            return sum(value.item() for value in values)
        return torch.stack([value.to(self.device, non_blocking=True) for value in values]).sum()
