"""From a neighbour list to one with a shorter cutoff."""

from __future__ import annotations

import numpy as np

from gapkit._numba import njit


@njit
def nearer(first, j, S, D, cutoff):
    """The pairs closer than `cutoff`, in their order: first, j, S, D."""
    n, new_first = 0, np.empty_like(first)
    which = np.empty(len(j), dtype=np.int64)
    new_first[0] = 0
    for i in range(len(first) - 1):
        for k in range(first[i], first[i + 1]):
            which[n] = k
            n += D[k, 0] * D[k, 0] + D[k, 1] * D[k, 1] + D[k, 2] * D[k, 2] < cutoff * cutoff
        new_first[i + 1] = n
    new_j, new_S, new_D = np.empty(n, dtype=j.dtype), np.empty((n, 3), dtype=S.dtype), np.empty((n, 3))
    for k in range(n):
        new_j[k] = j[which[k]]
        for a in range(3):
            new_S[k, a], new_D[k, a] = S[which[k], a], D[which[k], a]
    return new_first, new_j, new_S, new_D
