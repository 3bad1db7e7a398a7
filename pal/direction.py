"""The search direction of a step: d = -m with m <- beta m + g, one line for all parameters.

A step needs only inner products of three vectors: the gradient g, the m of the previous step (direction adaptation),
and, if weight decay is part of the loss, the weights theta. The direction itself is never stored: moves follow its
terms one by one, and m is updated together with the final move, so that a step can be abandoned until then.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pal import kernels
from pal.kernels import Call
from pal.line import FlatBuffer, Movable, Origin, as_real, chunks_of, dot, is_nonzero, safe_ratio, sqrt, total
from pal.parabola import Scalar
from pal.sharding import all_reduce, local, placement, shard_groups, sharded_like

gradient_of = attrgetter("grad")

CANCELLATION = 0.1
"""If ||d||² is smaller than its terms by this factor, cancellation has cost digits: compute it from the vectors."""


class Decay(NamedTuple):
    """Weight decay of a parameter: its factor, and whether it is decoupled from the loss of the line."""

    factor: float
    decoupled: bool


class Slope(NamedTuple):
    """The norm ||d|| of the direction, and the slope l'(0) = g.d / ||d||, loss per distance."""

    norm: Scalar
    value: Scalar


class Terms(NamedTuple):
    """Inner products over a part of the weights before m is updated; zero where not needed.

    g is the gradient of the loss with its L2 term, m that of the previous step.
    """

    gg: Scalar
    gm: Scalar = 0.0
    mm: Scalar = 0.0
    theta_theta: Scalar = 0.0
    theta_g: Scalar = 0.0
    theta_m: Scalar = 0.0
    magnitude: Scalar = 0.0  # sum of the absolute terms of gg, to detect cancellation


class Products(NamedTuple):
    """Inner products over a part of the weights, with m that of this step; zero where not needed."""

    gg: Scalar
    gm: Scalar
    mm: Scalar
    theta_theta: Scalar = 0.0
    theta_m: Scalar = 0.0


class Penalty(NamedTuple):
    """The L2 term of some parameters, factor/2 ||theta - scale m||², from three inner products for the whole line."""

    factor: float
    theta_theta: Scalar
    theta_m: Scalar
    mm: Scalar

    def at(self, scale: Scalar) -> Scalar:
        """The L2 term at theta - scale m."""
        return self.factor / 2 * (self.theta_theta - 2 * scale * self.theta_m + scale * scale * self.mm)


class Part:
    """Parameters of one device, dtype, placement and weight decay, with at most two copies of them in memory.

    One copy is the origin of the line, which serves as scratch before the weights move. The other, for beta > 0 only,
    is m; until the final move it is that of the previous step.

    Args:
        params: the parameters, which have gradients.
        decay: their weight decay.
        adapts: whether beta > 0.
        foreach: whether multi-tensor kernels may be used.
    """

    def __init__(self, params: list[Tensor], decay: Decay, adapts: bool, foreach: bool) -> None:
        self.params = params
        self._groups = shard_groups(params[0])
        self._plain = placement(params[0]) is None and not params[0].is_complex()
        self.origin = Origin([as_real(local(param)) for param in params], foreach)
        self.m = FlatBuffer(self.origin.params) if adapts else None
        self.gradients: list[Tensor] = []
        self.l2 = 0.0 if decay.decoupled else decay.factor
        self._decoupled = decay.factor if decay.decoupled else 0.0
        self._movable_m = Movable(self.m.views, foreach) if self.m is not None else None

    def start(self, sign: float, beta: float) -> Products:
        """Take the gradients, times the sign, and the current weights as the origin; return inner products."""
        flat, m = self.origin.flat, self.m
        gradients = list(map(gradient_of, self.params))
        self.gradients[:] = (
            gradients if self._plain else [as_real(local(each).resolve_conj()) for each in gradients]
        )
        if flat.contiguous:
            g: Sequence[Tensor] = chunks_of(self.gradients)
        else:
            flat.copy(self.gradients)
            g = flat.chunks
        gg = dot(g, g)
        if m is None and not self.l2 and not self._groups:
            self.origin.save()
            return Products(gg, gg, gg)
        gm, mm = (0.0, 0.0) if m is None else (sign * dot(g, m.chunks), m.dot(m))
        terms = Terms(gg, gm, mm, magnitude=gg)
        if self.l2:
            terms = self._with_l2(terms, g, sign)
        else:
            self.origin.save()
        return self._with_new_m(Terms(*all_reduce(terms, self._groups)), sign, beta)

    def _with_new_m(self, terms: Terms, sign: float, beta: float) -> Products:
        """Inner products with the new m = g + beta m, from those with the old one."""
        gg, gm, mm, theta_theta, theta_g, theta_m, magnitude = terms
        new_gm = gg + beta * gm
        new_mm = new_gm + beta * (gm + beta * mm)
        magnitude = magnitude + beta * beta * mm
        on_host = not (isinstance(new_mm, Tensor) or isinstance(magnitude, Tensor))
        if on_host and new_mm < CANCELLATION * magnitude < math.inf:
            new_gm, new_mm = self._exact_products(sign, beta)
        return Products(gg, new_gm, new_mm, theta_theta, theta_g + beta * theta_m)

    def _with_l2(self, terms: Terms, g: Sequence[Tensor], sign: float) -> Terms:
        """Save the origin, and replace the gradient g in inner products by g + l2 theta."""
        flat, m, l2 = self.origin.flat, self.m, self.l2
        if flat.contiguous:
            self.origin.save()
            theta_g = sign * dot(g, flat.chunks)
        else:  # g is in the memory of the origin
            theta_g = sign * flat.dot_with(self.origin.params)
            self.origin.save()
        theta_theta = flat.dot(flat)
        theta_m = 0.0 if m is None else flat.dot(m)
        return Terms(
            gg=terms.gg + 2 * l2 * theta_g + l2 * l2 * theta_theta,
            gm=terms.gm + l2 * theta_m,
            mm=terms.mm,
            theta_theta=theta_theta,
            theta_g=theta_g + l2 * theta_theta,
            theta_m=theta_m,
            magnitude=terms.gg + l2 * l2 * theta_theta,
        )

    def _exact_products(self, sign: float, beta: float) -> tuple[Scalar, Scalar]:
        """g.m and m.m for the new m = g + beta m, from the vectors themselves in float64; on the CPU only."""
        gm = mm = 0.0
        weights = self.origin.flat.views
        previous = weights if self.m is None else self.m.views  # without m, these are not used
        for vectors in zip(self.gradients, weights, previous, strict=True):
            for gradient, theta, old in zip(*(chunks_of([vector]) for vector in vectors), strict=True):
                g = sign * gradient.double() + self.l2 * theta.double()
                m = g if self.m is None else g + beta * old.double()
                gm, mm = gm + torch.dot(g, m).item(), mm + torch.dot(m, m).item()
        gm, mm = all_reduce([gm, mm], self._groups)
        return gm, mm

    def prepare_probe(self, scale: Scalar, sign: float, beta: float) -> list[Call]:
        """Prepare theta <- theta - scale (g + beta m); the weights must be at the origin."""
        move = self.origin.movable.prepare_descent
        if self.m is None:
            return move(self.gradients, sign * scale, sign * self.l2)
        if self.m.buffer.itemsize < 4:  # two moves would round in between
            pairs = zip(self.gradients, self.m.views, strict=True)
            return move([sign * g.float() + beta * m.float() for g, m in pairs], scale, self.l2)
        return move(self.gradients, sign * scale, sign * self.l2) + move(self.m.views, beta * scale)

    def prepare_step(
        self, scale: Scalar, distance: Scalar, sign: float, beta: float, finite: bool | Tensor
    ) -> list[Call]:
        """Prepare m <- beta m + g and the final move, theta <- (1 - decay distance) theta - scale m from the origin."""
        share = self._decoupled * distance if self._decoupled else 0.0
        origin, m = self.origin, self.m
        if m is None:
            calls = origin.prepare_move(self.gradients, sign * scale, sign * self.l2, share)
        elif (
            finite is True
            and (self.l2 or share)
            and is_nonzero(scale)
            and origin.movable.fuses(self.gradients)
        ):
            step = kernels.prepare_momentum_descent(
                origin.params, self.gradients, m.views, scale, beta, self.l2, sign < 0
            )
            calls = [*origin.prepare_return(share), step]
        else:
            calls = self._prepare_m(m, sign, beta, finite) + origin.prepare_move(m.views, scale, share=share)
        return [*calls, self.gradients.clear]  # frees their memory before the next forward pass

    def _prepare_m(self, m: FlatBuffer, sign: float, beta: float, finite: bool | Tensor) -> list[Call]:
        """Prepare m <- beta m + g, with the L2 gradient at the origin; m stays if g is not finite."""
        movable = self._movable_m
        if movable is None or finite is False:
            return []
        skip = None if isinstance(finite, bool) else (~finite).float().to(m.buffer.device, non_blocking=True)
        calls = movable.prepare_descent(self.gradients, -sign, sign * (beta - 1), skip)
        if self.l2:
            calls += movable.prepare_descent(self.origin.flat.views, -self.l2, 0.0, skip)
        return calls


class Direction:
    """The search direction over all parameters that have a gradient, and the line along it.

    Args:
        groups: the parameter groups of PAL.

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
                    kinds[param.device, param.dtype, decay, placement(param)].append(param)
        foreach = first["foreach"] is not False
        self._parts = [Part(params, kind[2], first["beta"] > 0, foreach) for kind, params in kinds.items()]
        self.on_host = all(part.origin.on_host for part in self._parts)
        self.device = self._parts[0].params[0].device
        self._norm: Scalar = 0.0
        self._has_l2 = any(part.l2 for part in self._parts)
        self._penalties: list[Penalty] = []
        self._finite: bool | Tensor = False
        self._sign = 1.0
        self._beta = 0.0
        self._moved = False  # whether the weights may have left the origin
        self._kept: dict[Tensor, Tensor] = {}  # each parameter's m, as the optimizer's state has it

    def scalar(self, number: float | Tensor) -> Scalar:
        """The number as the scalars of the line are kept: a float on the CPU, else a tensor on their device."""
        if isinstance(number, Tensor):
            return number.item() if self.on_host else number.to(self.device, non_blocking=True)
        return number

    def start(self, beta: float, maximize: bool) -> Slope:
        """Start a line at the current weights along the current gradients.

        Args:
            beta: direction adaptation.
            maximize: whether to flip the sign of loss and gradient.

        Returns:
            ||d|| and l'(0); l'(0) is NaN if the gradient is not finite.
        """
        self._sign, self._beta = (-1.0 if maximize else 1.0), beta
        products = [part.start(self._sign, beta) for part in self._parts]
        columns = zip(*products, strict=True)
        gg, gm, mm, *_ = (
            products[0] if len(products) == 1 else [total(each, self.on_host) for each in columns]
        )
        both = gg + mm
        self._finite = both.isfinite() if isinstance(both, Tensor) else math.isfinite(both)
        self._norm = sqrt(mm)
        if self._has_l2:
            self._penalties = [
                Penalty(part.l2, *map(self.scalar, (each.theta_theta, each.theta_m, each.mm)))
                for part, each in zip(self._parts, products, strict=True)
                if part.l2
            ]
        return Slope(self._norm, -safe_ratio(gm, self._norm) + (gg - gg))  # plus NaN if g is not finite

    def loss(self, loss: Tensor, distance: Scalar = 0.0) -> Scalar:
        """The loss of the line from that of the closure: with the sign, and the L2 term at theta + distance d/||d||."""
        value = self._sign * self.scalar(loss)
        for penalty in self._penalties:
            value = value + penalty.at(safe_ratio(distance, self._norm))
        return value

    def move(self, distance: Scalar) -> None:
        """Move the weights to theta + distance d/||d||, from anywhere on the line; 0 restores theta bitwise."""
        if self._moved:
            self.restore()
        self._moved = True
        scale = safe_ratio(distance, self._norm)
        for part in self._parts:
            kernels.run(part.prepare_probe(scale, self._sign, self._beta), None)
        kernels.run(kernels.prepare_clear_caches(), None)

    def restore(self) -> None:
        """Move the weights back to the origin, bitwise, if they have left it."""
        if self._moved:
            for part in self._parts:
                part.origin.restore()
            kernels.run(kernels.prepare_clear_caches(), None)
        self._moved = False

    def prepare_step(self, distance: Scalar) -> list[Call]:
        """Prepare the final move to theta + distance d/||d||, with decoupled weight decay, and the update of m."""
        scale = safe_ratio(distance, self._norm)
        moves = [
            part.prepare_step(scale, distance, self._sign, self._beta, self._finite) for part in self._parts
        ]
        self._moved = True
        return [*chain(*moves), *kernels.prepare_clear_caches(), partial(setattr, self, "_moved", False)]

    def is_kept_in(self, state: Mapping[Tensor, dict[str, Any]]) -> bool:
        """Whether each parameter's m is still its entry in the optimizer's state, which users may clear or replace."""
        return all(map(is_, map(kept_direction, map(state.get, self._kept)), self._kept.values()))

    def load(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """Load each parameter's m from its entry "direction" in the optimizer's state, and keep it there from now on.

        The entry comes from an earlier direction object or from a checkpoint.

        Raises:
            ValueError: if its shape is not that of the parameter.
        """
        parts = [(part.params, part.m.views) for part in self._parts if part.m is not None]
        for own in state.values() if parts else ():
            if "direction" in own:  # it may be a view of an earlier direction's buffer
                own["direction"] = own["direction"].clone()
        for params, views in parts:
            for param, view in zip(params, views, strict=True):
                own = state[param]
                if "direction" in own:
                    view.copy_(valid_direction(own["direction"], param))
                m = torch.view_as_complex(view) if param.is_complex() else view
                own["direction"] = self._kept[param] = sharded_like(m, param)


def kept_direction(own: Mapping[str, Any] | None) -> Any:
    """The m in a parameter's entry of the optimizer's state, if there is one."""
    return None if own is None else own.get("direction")


def valid_direction(direction: Tensor, param: Tensor) -> Tensor:
    """The m of a checkpoint as a real tensor without NaN; ValueError if its shape is not that of the parameter."""
    if direction.shape != param.shape:
        raise ValueError(
            f"the direction in PAL's state has shape {tuple(direction.shape)}, its parameter {tuple(param.shape)}: the "
            "checkpoint belongs to a different model"
        )
    return as_real(torch.nan_to_num(local(direction), 0.0, 0.0, 0.0))
