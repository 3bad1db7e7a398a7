"""The shape of a measured line: convexity, local minima, and how well parabolas fit. NumPy only."""

import math

import numpy as np

CONVEX = 0.01
"""A line counts as convex if it is nowhere higher above its convex hull than this fraction of its range."""


def hull_distance(distances: np.ndarray, losses: np.ndarray) -> float:
    """How far a line is from being convex: max(l - h) / (max l - min l), with h the lower convex hull of its points.

    0 for a convex line, at most 1; NaN if a loss is not finite or the line is flat.

    Args:
        distances: Ascending distances, [points].
        losses: Losses at these distances, [points].
    """
    spread = float(losses.max() - losses.min())
    if not (math.isfinite(spread) and spread > 0):
        return math.nan
    hull = lower_hull(distances, losses)
    return float(np.max(losses - np.interp(distances, distances[hull], losses[hull]))) / spread


def lower_hull(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Indices of the points on the lower convex hull of points with ascending x (Andrew 1979)."""
    hull: list[int] = []
    for index in range(len(x)):
        while len(hull) > 1 and _is_above(x, y, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    return hull


def _is_above(x: np.ndarray, y: np.ndarray, left: int, middle: int, right: int) -> bool:
    """Whether the middle point is on or above the straight line through the others."""
    rise, run = y[right] - y[left], x[right] - x[left]
    return bool((y[middle] - y[left]) * run >= rise * (x[middle] - x[left]))


def minima(losses: np.ndarray) -> int:
    """Local minima between the ends; a flat bottom counts once, as do differences within float32 rounding."""
    known = losses[np.isfinite(losses)]
    tolerance = 8 * np.finfo(np.float32).eps * np.abs(known).max(initial=0.0)
    falls = np.diff(known)
    signs = np.sign(falls[np.abs(falls) > tolerance])
    return int(np.sum((signs[:-1] < 0) & (signs[1:] > 0)))


def fits(distances: np.ndarray, losses: np.ndarray, parabola: tuple[float, float, float]) -> dict[str, float]:
    """Mean absolute error of the best line, the best parabola and PAL's parabola in a window.

    NaN if a loss in it is not finite.

    Args:
        distances: Distances in the window, [points].
        losses: Losses at these distances, [points].
        parabola: a, b, c of PAL's parabola a s^2 + b s + c.
    """
    if not np.isfinite(losses).all():
        return dict.fromkeys(("linear_error", "quadratic_error", "pal_error"), math.nan)
    best = {name: np.polyfit(distances, losses, degree) for name, degree in (("linear", 1), ("quadratic", 2))}
    known = best | {"pal": np.asarray(parabola)}
    return {
        f"{name}_error": float(np.mean(np.abs(np.polyval(coefficients, distances) - losses)))
        for name, coefficients in known.items()
    }


def fit_error(distances: np.ndarray, losses: np.ndarray, parabola: tuple[float, float, float]) -> float:
    """Mean absolute error of PAL's parabola minus that of the best parabola, as a fraction of the line's range."""
    spread = float(losses.max() - losses.min())
    if not (math.isfinite(spread) and spread > 0):
        return math.nan
    errors = fits(distances, losses, parabola)
    return (errors["pal_error"] - errors["quadratic_error"]) / spread
