"""The direction of a step: d = -m with m = beta m + g, one line for all parameters.

All that a step needs of it are inner products of three vectors: the gradient g, the direction adaptation m of the step
before, and the weights theta where weight decay is part of the loss. The direction itself is nowhere in
memory: moves go along its parts, and m changes with the final move only, so that a step can be given up until then.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from pal import kernels
from pal.kernels import Call
from pal.line import Flat, Movable, Origin, dot, in_pieces, pieces_of, ratio, real, root, total
from pal.parabola import Scalar
from pal.sharding import dealt, like, local, sharing, summed

gradient_of = attrgetter("grad")

CANCELLED = 0.1
"""A norm² this much smaller than its terms has lost digits, and is computed from the vector itself."""


class Decay(NamedTuple):
    """Weight decay of a parameter: the factor, and whether it stays out of the line's loss."""

    factor: float
    decoupled: bool


class Slope(NamedTuple):
    """The direction in two numbers: norm ||m||, and value l'(0) = -g.m / ||m||, loss per distance."""

    norm: Scalar
    value: Scalar


class Products(NamedTuple):
    """Inner products of a part, with g the gradient of the loss that includes weight decay; zeros where not needed."""

    gg: Scalar
    gm: Scalar = 0.0
    mm: Scalar = 0.0
    decayed: Scalar = 0.0  # theta.theta
    pull: Scalar = 0.0  # theta.g
    along: Scalar = 0.0  # theta.m
    terms: Scalar = 0.0  # what gg is the sum of, without signs


class Penalty(NamedTuple):
    """The L2 term of some parameters, factor/2 ||theta - scale d||², known on the whole line from three numbers."""

    factor: float
    size: Scalar  # theta.theta
    pull: Scalar  # theta.d
    length: Scalar  # d.d

    def at(self, scale: Scalar) -> Scalar:
        """The term where theta - scale d is."""
        return self.factor / 2 * (self.size - 2 * scale * self.pull + scale * scale * self.length)


class Part:
    """Parameters of one device, dtype and weight decay, with what a step needs of them: at most two copies.

    One copy is the origin of the line; before the step leaves it, it serves as scratch. The other, only for beta > 0,
    is m, which is that of the step before until the final move.
    """

    def __init__(self, params: list[Tensor], decay: Decay, adapted: bool, foreach: bool) -> None:
        self.params = params
        self._sharing = sharing(params[0])
        self._plain = dealt(params[0]) is None and not params[0].is_complex()
        self.origin = Origin([real(local(param)) for param in params], foreach)
        self.m = Flat(self.origin.params) if adapted else None
        self.gradients: list[Tensor] = []
        self.l2 = 0.0 if decay.decoupled else decay.factor
        self._decoupled = decay.factor if decay.decoupled else 0.0
        self._growing = Movable(self.m.views, foreach) if self.m is not None else None

    def take(self, sign: float) -> Products:
        """Take the gradients, and the present weights as the origin; multiply."""
        room, m, l2 = self.origin.room, self.m, self.l2
        gradients = list(map(gradient_of, self.params))
        self.gradients[:] = (
            gradients if self._plain else [real(local(each).resolve_conj()) for each in gradients]
        )
        if room.in_rows:
            g: Sequence[Tensor] = in_pieces(self.gradients)
        else:
            room.copy(self.gradients)
            g = room.pieces
        gg = dot(g, g)
        gm, mm = (0.0, 0.0) if m is None else (sign * dot(g, m.pieces), m.dot(m))
        if not l2:
            self.origin.save()
            return self._summed(Products(gg, gm, mm, terms=gg))
        if room.in_rows:
            self.origin.save()
            pull = sign * dot(g, room.pieces)
        else:
            pull = sign * room.dot_with(self.origin.params)
            self.origin.save()
        decayed = room.dot(room)
        along = 0.0 if m is None else room.dot(m)
        products = Products(
            gg=gg + 2 * l2 * pull + l2 * l2 * decayed,
            gm=gm + l2 * along,
            mm=mm,
            decayed=decayed,
            pull=pull + l2 * decayed,
            along=along,
            terms=gg + l2 * l2 * decayed,
        )
        return self._summed(products)

    def _summed(self, products: Products) -> Products:
        """Inner products over all processes, where weights are dealt out."""
        return Products(*summed(products, self._sharing)) if self._sharing else products

    def form(self, sign: float, beta: float) -> tuple[Scalar, Scalar]:
        """g.d and d.d of the vectors themselves, in float64, for where the products cancel. On the CPU only."""
        gd = dd = 0.0
        adapted = self.origin.room.views if self.m is None else self.m.views
        for vectors in zip(self.gradients, self.origin.room.views, adapted, strict=True):
            for gradient, weight, m in zip(*map(pieces_of, vectors), strict=True):
                g = sign * gradient.double() + self.l2 * weight.double()
                d = g if self.m is None else g + beta * m.double()
                gd, dd = gd + torch.dot(g, d).item(), dd + torch.dot(d, d).item()
        gd, dd = summed([gd, dd], self._sharing)
        return gd, dd

    def probing(self, scale: Scalar, sign: float, beta: float) -> list[Call]:
        """Prepare: theta <- theta - scale (g + beta m), from the origin."""
        move = self.origin.movable.descent
        if self.m is None:
            return move(self.gradients, sign * scale, sign * self.l2)
        if self.m.buffer.itemsize < 4:  # which would round in between
            pairs = zip(self.gradients, self.m.views, strict=True)
            return move([sign * g.float() + beta * m.float() for g, m in pairs], scale, self.l2)
        return move(self.gradients, sign * scale, sign * self.l2) + move(self.m.views, beta * scale)

    def finishing(
        self, scale: Scalar, distance: Scalar, sign: float, beta: float, finite: bool | Tensor
    ) -> list[Call]:
        """Prepare: m <- beta m + g, and theta <- theta - scale d from the origin, after decoupled decay."""
        shrunk = self._decoupled * distance if self._decoupled else 0.0
        origin, m = self.origin, self.m
        if m is None:
            calls = origin.leaving(self.gradients, sign * scale, sign * self.l2, shrunk)
        elif finite is True and moves(scale) and origin.movable.fits(self.gradients):
            step = kernels.adapted_descent(
                origin.params, self.gradients, m.views, scale, beta, self.l2, sign < 0
            )
            calls = [*origin.returning(shrunk), step]
        else:
            calls = self._growing_of(m, sign, beta, finite) + origin.leaving(m.views, scale, shrunk=shrunk)
        return [*calls, self.gradients.clear]  # or they would lie beside the next step's activations

    def _growing_of(self, m: Flat, sign: float, beta: float, finite: bool | Tensor) -> list[Call]:
        """Prepare: m <- beta m + g, with the weight decay at the origin; nothing if g is not finite."""
        grow = self._growing
        if grow is None or finite is False:
            return []
        still = None if isinstance(finite, bool) else (~finite).float().to(m.buffer.device, non_blocking=True)
        calls = grow.descent(self.gradients, -sign, sign * (beta - 1), still)
        return calls + (grow.descent(self.origin.room.views, -self.l2, 0.0, still) if self.l2 else [])


class Direction:
    """The direction over all parameters that have a gradient, and the line along it.

    Args:
        groups: parameter groups of PAL.

    Raises:
        RuntimeError: if no parameter has a gradient, or one has a sparse gradient.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        first = groups[0]
        kinds: defaultdict[tuple[torch.device, torch.dtype, Decay, Any], list[Tensor]] = defaultdict(list)
        for group in groups:
            decay = Decay(group["weight_decay"], group["decoupled_weight_decay"])
            for param in group["params"]:
                if param.grad is not None:
                    kinds[param.device, param.dtype, decay, dealt(param)].append(param)
        foreach = first["foreach"] is not False
        self._parts = [Part(params, kind[2], first["beta"] > 0, foreach) for kind, params in kinds.items()]
        self.on_host = all(part.origin.on_host for part in self._parts)
        self.device = self._parts[0].params[0].device
        self._norm: Scalar = 0.0
        self._penalties: list[Penalty] = []
        self._finite: bool | Tensor = False
        self._sign = 1.0
        self._beta = 0.0
        self._away = False  # whether the weights may be elsewhere than at the origin

    def scalar(self, number: float | Tensor) -> Scalar:
        """The number where the line's numbers live."""
        if isinstance(number, Tensor):
            return number.item() if self.on_host else number.to(self.device, non_blocking=True)
        return number

    def take(self, beta: float, maximize: bool) -> Slope:
        """Start a line: take the gradients, and the present weights as its origin."""
        self._sign, self._beta = (-1.0 if maximize else 1.0), beta
        products = [part.take(self._sign) for part in self._parts]
        pairs = [self._with_direction(part, each) for part, each in zip(self._parts, products, strict=True)]
        gradient = total([each.gg for each in products], self.on_host)
        descent = total([gd for gd, _ in pairs], self.on_host)
        length = total([dd for _, dd in pairs], self.on_host)
        known = gradient + length
        self._finite = known.isfinite() if isinstance(known, Tensor) else math.isfinite(known)
        self._norm = root(length)
        self._penalties = [
            Penalty(part.l2, *map(self.scalar, (each.decayed, each.pull + beta * each.along, square)))
            for part, each, (_, square) in zip(self._parts, products, pairs, strict=True)
            if part.l2
        ]
        return Slope(self._norm, -ratio(descent, self._norm) + (gradient - gradient))

    def _with_direction(self, part: Part, each: Products) -> tuple[Scalar, Scalar]:
        """g.d and d.d of a part."""
        beta = self._beta
        gd = each.gg + beta * each.gm
        dd = gd + beta * (each.gm + beta * each.mm)
        terms = each.terms + beta * beta * each.mm
        if isinstance(dd, Tensor) or isinstance(terms, Tensor) or not dd < CANCELLED * terms < math.inf:
            return gd, dd
        return part.form(self._sign, beta)

    def loss(self, loss: Tensor, distance: Scalar = 0.0) -> Scalar:
        """The line's loss from the closure's: its sign, and the L2 term l2/2 ||theta + distance d/||d|| ||²."""
        value = self._sign * self.scalar(loss)
        for penalty in self._penalties:
            value = value + penalty.at(ratio(distance, self._norm))
        return value

    def move(self, distance: Scalar) -> None:
        """To theta + distance d/||d||, from wherever on the line; 0 is the origin, bit by bit."""
        if self._away:
            self.restore()
        self._away = True
        scale = ratio(distance, self._norm)
        for part in self._parts:
            kernels.run(part.probing(scale, self._sign, self._beta), None)
        kernels.run(kernels.stale_caches(), None)

    def restore(self) -> None:
        """Back to the origin, bit by bit, if the weights have left it."""
        if self._away:
            for part in self._parts:
                part.origin.restore()
            kernels.run(kernels.stale_caches(), None)
        self._away = False

    def finishing(self, distance: Scalar) -> list[Call]:
        """Prepare the final move to theta + distance d/||d||, with decoupled weight decay and the new m."""
        scale = ratio(distance, self._norm)
        moves = [
            part.finishing(scale, distance, self._sign, self._beta, self._finite) for part in self._parts
        ]
        self._away = True
        return [
            *chain(*moves),
            *kernels.stale_caches(),
            partial(setattr, self, "_away", False),
        ]

    def adopt(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """Take over each parameter's m, its "direction", from before or from a checkpoint, and keep it there."""
        if not any(part.m for part in self._parts):
            return
        for kept in state.values():
            if "direction" in kept:
                kept["direction"] = kept["direction"].clone()  # out of the buffer of an earlier direction
        for part in self._parts:
            if part.m is None:
                continue
            for param, view in zip(part.params, part.m.views, strict=True):
                own = state[param]
                if "direction" in own:
                    view.copy_(checked(own["direction"], param))
                own["direction"] = like(torch.view_as_complex(view) if param.is_complex() else view, param)


def moves(scale: Scalar) -> TypeGuard[float]:
    """Whether a number that can be read leads elsewhere."""
    return not isinstance(scale, Tensor) and scale != 0 and math.isfinite(scale)


def checked(direction: Tensor, param: Tensor) -> Tensor:
    """The direction adaptation of a checkpoint, real and without NaN; ValueError if it is of another parameter."""
    if direction.shape != param.shape:
        raise ValueError(
            f"the direction in PAL's state has shape {tuple(direction.shape)}, the parameter {tuple(param.shape)}: the "
            "checkpoint is of another model"
        )
    return real(torch.nan_to_num(local(direction), 0.0, 0.0, 0.0))
