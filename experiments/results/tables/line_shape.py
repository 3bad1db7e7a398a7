"""The shape of a measured line: convexity, minimum, and how well a parabola and its step fit. NumPy only."""

import math
from typing import Any

import numpy as np


def shape(
    distances: np.ndarray, losses: np.ndarray, reach: float, step: float, parabola: tuple[float, float, float]
) -> dict[str, Any]:
    """The shape of a measured line, by definitions that were fixed before anything was measured.

    With R = `reach`, and rounding tolerance t = 8 eps max|l| for float32 losses:

    * minima: number of local minima inside the grid, lower than both neighbours by more than t;
    * convex_share: fraction of second differences l(s-h) - 2 l(s) + l(s+h) >= -t over the whole grid;
    * locally_convex: whether all second differences on [0, 2R], from the weights to twice PAL's step, are >= -t;
    * minimiser, loss_min: lowest grid point, refined by the parabola through it and its neighbours;
    * interior: whether it is not at the end of the grid;
    * step_error: |step - minimiser| / minimiser; improvement: (l(0) - l(step)) / (l(0) - l(minimiser));
    * parabola_error: root mean square difference of PAL's parabola and the line on [0, 2R], relative to the
      line's range there.

    Args:
        distances: Evenly spaced distances, [points].
        losses: Losses at these distances, [points].
        reach: R, the larger of PAL's step and mu.
        step: PAL's step.
        parabola: a, b, c of a s^2 + b s + c.
    """
    losses = np.where(np.isfinite(losses), losses, np.nan)
    tolerance = 8 * np.finfo(np.float32).eps * np.nanmax(np.abs(losses))
    bends = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    convex = bends >= -tolerance  # False for NaN
    inside = (distances >= -1e-9 * reach) & (distances <= 2 * reach * (1 + 1e-9))
    minimiser, lowest, interior = _minimum(distances, losses)
    start, reached = (float(np.interp(at, distances, losses)) for at in (0.0, step))
    here = losses[inside]
    difference = np.polyval(parabola, distances[inside]) - here
    spread = float(here.max() - here.min())
    return {
        "minima": minima(losses, tolerance),
        "convex_share": float(convex.mean()),
        "locally_convex": int(convex[inside[1:-1]].all()),
        "minimiser": minimiser,
        "loss_min": lowest,
        "interior": int(interior),
        "step_error": abs(step - minimiser) / minimiser if minimiser > 0 else math.nan,
        "improvement": (start - reached) / (start - lowest) if start > lowest else math.nan,
        "parabola_error": math.sqrt(float(np.mean(difference**2))) / spread if spread > 0 else math.nan,
    }


def minima(losses: np.ndarray, tolerance: float) -> int:
    """Local minima between the ends; a flat bottom (within the tolerance) counts once."""
    falls = np.diff(losses)
    signs = np.sign(falls[np.abs(falls) > tolerance])
    return int(np.sum((signs[:-1] < 0) & (signs[1:] > 0)))


def fits(distances: np.ndarray, losses: np.ndarray, parabola: tuple[float, float, float]) -> dict[str, float]:
    """Mean absolute error of the best line, the best parabola and PAL's parabola in a window.

    NaN if a loss in it is not finite.
    """
    if not np.isfinite(losses).all():
        return dict.fromkeys(("linear_error", "quadratic_error", "pal_error"), math.nan)
    best = {name: np.polyfit(distances, losses, degree) for name, degree in (("linear", 1), ("quadratic", 2))}
    known = best | {"pal": np.asarray(parabola)}
    return {
        f"{name}_error": float(np.mean(np.abs(np.polyval(coefficients, distances) - losses)))
        for name, coefficients in known.items()
    }


def _minimum(distances: np.ndarray, losses: np.ndarray) -> tuple[float, float, bool]:
    """Minimiser and minimum, refined between grid points, and whether it is inside the grid."""
    at = int(np.nanargmin(losses))
    if at in (0, len(losses) - 1):
        return float(distances[at]), float(losses[at]), False
    left, middle, right = losses[at - 1 : at + 2]
    bend = left - 2 * middle + right
    if not bend > 0:
        return float(distances[at]), float(middle), True
    shift = (left - right) / (2 * bend)
    gap = distances[1] - distances[0]
    return float(distances[at] + shift * gap), float(middle - (left - right) * shift / 4), True
