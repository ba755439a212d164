"""Near-duplicate rows by a sweep along one direction, farthest points, and fingerprints of rows."""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit

FEATURES_TOGETHER = 32  # of a distance, summed between two checks whether it is already too long


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


@inlined
def is_near(X, a, b, square):
    total = 0.0
    for f in range(X.shape[1]):
        total += (X[a, f] - X[b, f]) ** 2
        if total >= square:
            return False
    return True


@inlined
def square_below(X, a, b, limit):
    """|x_a - x_b|², or something not below `limit`."""
    total = 0.0
    n = X.shape[1]
    for start in range(0, n, FEATURES_TOGETHER):
        part = 0.0
        for f in range(start, min(start + FEATURES_TOGETHER, n)):
            d = X[a, f] - X[b, f]
            part += d * d
        total += part
        if total >= limit:
            break
    return total


@njit
def farthest_points(X, chosen, n_given, square, nearest):
    """Fill `chosen` beyond its first `n_given` entries with the row farthest from all before, one after the other.

    `square` (n,) becomes the squared distance of each row to its nearest chosen row and `nearest` (n,) that row's place
    in `chosen`. With c the nearest so far and s a new one, |x - s| >= |s - c| - |x - c| >= |x - c| if |s - c| >= 2
    |x - c|: then the row is left alone (Voronoi FPS: Cersonsky et al., Mach. Learn.: Sci. Technol. 2, 035038 (2021)).
    """
    n_rows = X.shape[0]
    quarter = np.empty(len(chosen))
    for k in range(len(chosen)):
        if k >= n_given:
            far = 0
            for i in range(1, n_rows):
                if square[i] > square[far]:
                    far = i
            chosen[k] = far
        for j in range(k):
            quarter[j] = 0.25 * square_below(X, chosen[j], chosen[k], np.inf)
        for i in range(n_rows):
            if k > 0 and quarter[nearest[i]] >= square[i]:
                continue
            d = square_below(X, i, chosen[k], square[i])
            if d < square[i]:
                square[i] = d
                nearest[i] = k


@njit
def squared_distances(X, centres, labels):
    """Squared distance of each row to the centre that its label names, shape (n,)."""
    square = np.empty(len(X))
    for i in range(len(X)):
        total = 0.0
        for f in range(X.shape[1]):
            d = X[i, f] - centres[labels[i], f]
            total += d * d
        square[i] = total
    return square


@njit
def fingerprints(bits, seed):
    """A number per row of 64-bit words, uniform over 0 … 2⁶⁴ - 1: each word goes through the mixer of SplitMix64.

    Steele, Lea and Flood, ACM SIGPLAN Notices 49(10), 453 (2014).
    """
    found = np.empty(len(bits), dtype=np.uint64)
    for i in range(len(bits)):
        h = seed
        for f in range(bits.shape[1]):
            h = (h ^ bits[i, f]) + np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = h ^ (h >> np.uint64(31))
        found[i] = h
    return found
