"""Tables of functions of one variable as quintic Hermite splines, as coarse as an error allows.

With y = f, h f', h² f'' at two knots a distance h apart, half-way between them the spline is

    (y0 + y0')/2 + 5 (y1 - y1')/32 + (y2 + y2')/64,    its error f⁽⁶⁾ h⁶/46080
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FINER = 0.7  # step of the next table relative to that of one with too large an error


def half_way(y: np.ndarray) -> np.ndarray:
    """The spline in the middle of each step: (n, ...) from f, h f', h² f'' at the knots, y (n + 1, 3, ...)."""
    low, high = y[:-1], y[1:]
    return 0.5 * (low[:, 0] + high[:, 0]) + 5 / 32 * (low[:, 1] - high[:, 1]) + (low[:, 2] + high[:, 2]) / 64


def refined_table(
    sample: Callable[[int], tuple[np.ndarray, np.ndarray]],
    limit: Callable[[np.ndarray], np.ndarray],
    length: float,
    step: float,
    most: int,
) -> tuple[np.ndarray, float]:
    """f, h f', h² f'' at equidistant knots (n + 1, 3, ...), and the largest error half-way between them.

    Parameters
    ----------
    sample : callable
        n -> f, h f', h² f'' at the n + 1 ends of n steps (n + 1, 3, ...), and f in the middle of each (n, ...).
    limit : callable
        f at the knots (n + 1, ...) -> the largest error of each function (...) that is small enough.
    length, step : float
        Of the interval and of the first steps to try.
    most : int
        A table of more steps is the last, whatever its error.
    """
    while True:
        n = int(np.ceil(length / step))
        y, exact = sample(n)
        error = np.abs(half_way(y) - exact).max(axis=0)
        if np.all(error <= limit(y[:, 0])) or n > most:
            return y, float(error.max())
        step *= FINER
