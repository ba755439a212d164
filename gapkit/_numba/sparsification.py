"""Near-duplicate rows by a sweep along one direction."""

from __future__ import annotations

import numpy as np

from gapkit._numba import njit


@njit
def distinct_rows(X, order, projection, tolerance):
    """Rows, in the given order of ascending projection on a unit vector, farther than `tolerance` from all kept before.

    |projection_a - projection_b| <= |x_a - x_b|, so that only kept rows within a narrow window can be near.
    """
    kept = np.empty(len(order), dtype=np.int64)
    n_kept, first = 0, 0
    window = 1.01 * tolerance  # covers the round-off of the projections
    for row in order:
        while first < n_kept and projection[row] - projection[kept[first]] > window:
            first += 1
        new = True
        for k in range(first, n_kept):
            if is_near(X, row, kept[k], tolerance * tolerance):
                new = False
                break
        if new:
            kept[n_kept] = row
            n_kept += 1
    return kept[:n_kept]


@njit
def is_near(X, a, b, square):
    total = 0.0
    for f in range(X.shape[1]):
        total += (X[a, f] - X[b, f]) ** 2
        if total >= square:
            return False
    return True
