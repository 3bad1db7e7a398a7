"""Exact minimisation along a line, like Brent's method: interpolation, safeguarded by a bracket and golden sections."""

import math
from bisect import insort
from collections.abc import Callable
from typing import NamedTuple

DATA = 5  # numbers that the interpolating polynomial fits, which makes it exact for quartics
GROWTH = 4.0  # factor of the distance where the line decreases without curvature
REACH = 10.0  # predictions are trusted up to this factor beyond the outermost point
GOLDEN = (3 - math.sqrt(5)) / 2
AGREEMENT = 1e-2  # relative tolerance between two predictions, at which the final parabola is fitted
WIDTH = (
    2e-3  # relative half-width of the final parabola: narrow compared with kinks, wide compared with rounding
)
TIE = 1e-5  # fraction of the decrease by which rounding may worsen the last point


class LineMinimum(NamedTuple):
    """A minimum of l(s).

    Attributes:
        distance: s, in weight space; 0 if no lower point was found.
        loss: l(s), at most l(0).
        evaluations: number of points evaluated.
    """

    distance: float
    loss: float
    evaluations: int


class Point(NamedTuple):
    """An evaluated point; a loss that is not finite counts as infinite."""

    distance: float
    loss: float


def search(
    loss: Callable[[float], float],
    loss0: float,
    slope: float,
    mu: float = 0.1,
    limit: float = math.inf,
    budget: int = 40,
) -> LineMinimum:
    """Descend from s = 0 to a minimum of l(s).

    The first two points are those of PAL: mu, and the minimum of the parabola through l(0), l'(0) and l(mu). Each
    further point is the minimum of the polynomial through the points nearest to the lowest one. If that is not usable,
    the search moves outward, or by golden section inside the bracket. When two predictions agree, a final parabola
    through close neighbours of the lowest point ends the search; they are far enough for rounding not to matter.

    Args:
        loss: l(s); NaN counts as infinite.
        loss0: l(0).
        slope: l'(0), loss per distance.
        mu: the first distance to evaluate, > 0.
        limit: maximum distance.
        budget: maximum number of evaluations.

    Returns:
        A local minimum; the limit if l decreases up to there, and s = 0 if no lower point is found.

    Source: Brent, Algorithms for minimization without derivatives, 1973, chapter 5; here the interpolation is of higher
    order, and includes l'(0).

    >>> search(lambda s: (s - 3) ** 2, loss0=9.0, slope=-6.0, mu=0.5)
    LineMinimum(distance=3.0, loss=0.0, evaluations=5)
    """
    if not (math.isfinite(loss0) and -math.inf < slope < 0):
        return LineMinimum(0.0, loss0, 0)
    line = Measured(loss, loss0, slope, limit)
    guess, steps = min(mu, limit), [math.inf, math.inf]
    while len(line.points) <= budget:
        before = line.best.distance
        if abs(guess - before) > WIDTH / 4 * guess:
            line.measure(guess)
        if line.best.distance == limit:
            break
        if abs(guess - before) <= AGREEMENT * guess and line.enclose():
            return LineMinimum(*line.settle(), len(line.points) - 1)
        steps = [steps[1], abs(guess - before)]
        guess = line.next(steps[0] / 2)
    return LineMinimum(*line.best, len(line.points) - 1)


class Measured:
    """The evaluated points of a line, sorted by distance, and predictions of its minimum."""

    def __init__(self, loss: Callable[[float], float], loss0: float, slope: float, limit: float) -> None:
        self.points = [Point(0.0, loss0)]
        self.best = self.points[0]
        self._loss = loss
        self._slope = slope
        self._limit = limit

    def measure(self, distance: float) -> Point:
        """Evaluate a point."""
        value = self._loss(distance)
        point = Point(distance, value if math.isfinite(value) else math.inf)
        insort(self.points, point)
        self.best = min(self.best, point, key=lambda each: each.loss)
        return point

    def enclose(self) -> bool:
        """Evaluate close neighbours of the best point on both sides; return whether it is still the best."""
        best, width = self.best, WIDTH * self.best.distance
        for side in (best.distance - width, min(best.distance + width, self._limit)):
            if not any(
                0 < (point.distance - best.distance) / (side - best.distance) < 2 for point in self.points
            ):
                self.measure(side)
        return self.best is best

    def settle(self) -> Point:
        """Evaluate the vertex of the parabola through the best point and its neighbours."""
        at = self.points.index(self.best)
        vertex = lowest(self.points[at - 1 : at + 2], self._slope, self.best.distance)
        if vertex is None:
            return self.best
        point = self.measure(vertex)
        tie = TIE * (self.points[0].loss - self.best.loss)
        return point if point.loss <= self.best.loss + tie else self.best

    def next(self, largest: float) -> float:
        """The next distance to evaluate; inside a bracket, at most `largest` from the best point."""
        at = self.points.index(self.best)
        here = self.best.distance
        outer = self.points[at + 1].distance if at + 1 < len(self.points) else None
        inner = self.points[max(at - 1, 0)].distance
        guess = self._predict()
        if outer is None:
            if guess is None or not inner < guess:
                guess = GROWTH * here
            return min(guess, REACH * here, self._limit)
        if at == 0 and guess is not None:
            guess = max(guess, outer / REACH**2)  # based on the slope alone, it may be far too small
        if guess is not None and inner < guess < outer and (at == 0 or abs(guess - here) <= largest):
            return guess
        if at == 0:
            return outer / REACH
        return here + GOLDEN * (outer - here if outer - here > here - inner else inner - here)

    def _predict(self) -> float | None:
        """The minimum of the polynomial through the points nearest to the best one, if it has one."""
        near = sorted(self.points, key=lambda point: abs(point.distance - self.best.distance))
        nodes: list[Point] = []
        for point in near:
            known = [point, point] if point.distance == 0 else [point]
            if math.isfinite(point.loss) and len(nodes) + len(known) <= DATA:
                nodes += known
        return lowest(nodes, self._slope, self.best.distance)


def lowest(nodes: list[Point], slope: float, start: float) -> float | None:
    """The minimum near `start` of the polynomial through points; where a point occurs twice, with the slope as well."""
    nodes = sorted(nodes)
    if len(nodes) < 3:
        return None
    xs = [node.distance for node in nodes]
    coefficients = divided_differences(nodes, slope)
    x = start
    for _ in range(30):
        first, second = derivatives(coefficients, xs, x)
        if second <= 0 or not math.isfinite(first):
            return None
        x, old = x - first / second, x
        if abs(x - old) <= 1e-9 * abs(x):
            return x
    return None


def divided_differences(nodes: list[Point], slope: float) -> list[float]:
    """Coefficients, in Newton form, of the polynomial through sorted points."""
    xs, column = [node.distance for node in nodes], [node.loss for node in nodes]
    coefficients = [column[0]]
    for order in range(1, len(nodes)):
        column = [
            (high - low) / (right - left) if right > left else slope
            for left, right, low, high in zip(xs, xs[order:], column, column[1:], strict=False)
        ]
        coefficients.append(column[0])
    return coefficients


def derivatives(coefficients: list[float], xs: list[float], x: float) -> tuple[float, float]:
    """First and second derivative at x of a polynomial in Newton form."""
    value = first = second = 0.0
    for coefficient, node in zip(reversed(coefficients), reversed(xs), strict=True):
        second = second * (x - node) + 2 * first
        first = first * (x - node) + value
        value = value * (x - node) + coefficient
    return first, second
