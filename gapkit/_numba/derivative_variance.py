"""Tangents sorted by the atom that moves, their sums into rows, and the mixed second derivatives of the kernel.

Letters as in `gapkit.covariances.derivative_variance`; a is a component of the functional (3 of a position, 6 of
strain).
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit


@inlined
def _project(row, q, inverse, target):
    """target = (row - (row·q) q) / |p|."""
    overlap = 0.0
    for x in range(len(q)):
        overlap += row[x] * q[x]
    for x in range(len(q)):
        target[x] = (row[x] - overlap * q[x]) * inverse


@njit
def sort_tangents(J, row_first, Q, norm, which, slot_first, place, low, D, strain):
    """Project the rows J of the centres `which` (order of `Tangents`) into D[place - low], where it exists, and strain.

    Q and norm of these centres; D (n_moves, 3, n_features), strain (all centres, 6, n_features); `place` of a centre
    begins at its slot_first.
    """
    for c in range(len(which)):
        row, inverse = row_first[c], 1.0 / norm[c]
        for s in range((row_first[c + 1] - row - 6) // 3):
            p = place[slot_first[which[c]] + s] - low
            if 0 <= p < D.shape[0]:
                for a in range(3):
                    _project(J[row + a], Q[c], inverse, D[p, a])
            row += 3
        for v in range(6):
            _project(J[row + v], Q[c], inverse, strain[which[c], v])


@njit
def sum_rows(T, slope, centre, first, rows):
    """rows[g, a] = Σ_p slope[centre_p] T[p, a], p from first[g] to first[g + 1]; T begins with first[0]."""
    rows[:] = 0.0
    for g in range(len(first) - 1):
        for p in range(first[g], first[g + 1]):
            for a in range(T.shape[1]):
                for m in range(T.shape[2]):
                    rows[g, a, m] += slope[centre[p], m] * T[p - first[0], a, m]


@njit
def second_derivative(curvature, B, B_other, WD, D):
    """K[a] = Σ_ik φ''_ik B[i, a, k] B_other[k, a, i] + Σ_i WD[i, a]·D[i, a]."""
    K = np.zeros(D.shape[1])
    for i in range(D.shape[0]):
        for a in range(D.shape[1]):
            total = 0.0
            for k in range(curvature.shape[1]):
                total += curvature[i, k] * B[i, a, k] * B_other[k, a, i]
            for x in range(D.shape[2]):
                total += WD[i, a, x] * D[i, a, x]
            K[a] += total
    return K
