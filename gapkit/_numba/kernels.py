"""Scalar functions of inner products fused with the weights, rows of features, and the scatter of rows and pairs.

Letters as in `gapkit.gaussian_process.kernels`.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit


@njit
def normalise(X, norm):
    """X ← X / |X| row by row, the lengths in `norm`; zero rows stay zero and have length 1."""
    for i in range(X.shape[0]):
        square = 0.0
        for x in range(X.shape[1]):
            square += X[i, x] * X[i, x]
        norm[i] = np.sqrt(square) if square > 0.0 else 1.0
        inverse = 1.0 / norm[i]
        for x in range(X.shape[1]):
            X[i, x] *= inverse


@njit
def project(X_bar, Q, norm):
    """X̄ ← (X̄ - (X̄·q) q) / |p|: from the cotangent of normalised rows to that of the rows."""
    for i in range(Q.shape[0]):
        overlap, inverse = 0.0, 1.0 / norm[i]
        for x in range(Q.shape[1]):
            overlap += X_bar[i, x] * Q[i, x]
        for x in range(Q.shape[1]):
            X_bar[i, x] = (X_bar[i, x] - overlap * Q[i, x]) * inverse


@inlined
def _power(s, exponent, result):
    """result = s^exponent, by repeated squaring of whole rows."""
    square = s.copy()
    result[:] = 1.0
    while exponent > 0:
        if exponent & 1:
            for m in range(result.shape[0]):
                result[m] *= square[m]
        exponent >>= 1
        if exponent > 0:
            for m in range(result.shape[0]):
                square[m] *= square[m]


@njit
def power_value(S, factor, zeta, K):
    """K = factor s^ζ."""
    for i in range(S.shape[0]):
        _power(S[i], zeta, K[i])
        for m in range(S.shape[1]):
            K[i, m] *= factor


@inlined
def fourth_power_contract(S, alpha, e):
    """`power_contract` for ζ = 4, the usual exponent, in one pass through S."""
    for i in range(S.shape[0]):
        total = 0.0
        for m in range(S.shape[1]):
            s = S[i, m]
            weighted = alpha[m] * s * s * s
            total += weighted * s
            S[i, m] = 4.0 * weighted
        e[i] = total


@njit
def power_contract(S, alpha, zeta, e):
    """e_i = Σ_m α_m s_im^ζ; S becomes α_m ζ s_im^(ζ - 1)."""
    if zeta == 4:
        fourth_power_contract(S, alpha, e)
        return
    below = np.empty(S.shape[1])
    for i in range(S.shape[0]):
        _power(S[i], zeta - 1, below)
        total = 0.0
        for m in range(S.shape[1]):
            weighted = alpha[m] * below[m]
            total += weighted * S[i, m]
            S[i, m] = zeta * weighted
        e[i] = total


@njit
def power_value_and_slope(S, factor, zeta, K, slope):
    """K = factor s^ζ and slope = factor ζ s^(ζ - 1)."""
    below = np.empty(S.shape[1])
    for i in range(S.shape[0]):
        _power(S[i], zeta - 1, below)
        for m in range(S.shape[1]):
            value = factor * below[m]
            K[i, m] = value * S[i, m]
            slope[i, m] = zeta * value


@njit
def add_rows(T, slope, row_first, atom, slot_first, forces, virial):
    """Scatter dk_im = slope_im T_rm of every centre into force rows (-∂/∂r) and virial rows (-∂/∂ε).

    T (n_rows, M) in the row order of `gapkit.descriptors.tangents.Tangents`; forces (3 n_atoms, M), virial (6, M).
    """
    for c in range(len(row_first) - 1):
        row = row_first[c]
        for s in range(slot_first[c], slot_first[c + 1]):
            for a in range(3):
                for m in range(T.shape[1]):
                    forces[3 * atom[s] + a, m] -= slope[c, m] * T[row, m]
                row += 1
        for v in range(6):
            for m in range(T.shape[1]):
                virial[v, m] -= slope[c, m] * T[row, m]
            row += 1


@njit
def project_rows(J, row_first, Q, norm):
    """J ← (J - (J·q) q) / |p|: tangents of the normalised rows."""
    for c in range(Q.shape[0]):
        inverse = 1.0 / norm[c]
        for row in range(row_first[c], row_first[c + 1]):
            overlap = 0.0
            for x in range(J.shape[1]):
                overlap += J[row, x] * Q[c, x]
            for x in range(J.shape[1]):
                J[row, x] = (J[row, x] - overlap * Q[c, x]) * inverse


@njit
def pair_forces(centres, first, j, D, g, forces, strain):
    """F_i += g_ij, F_j -= g_ij, dE/dε += D_ij ⊗ g_ij, in the order of the pairs."""
    for c in range(centres.shape[0]):
        i = centres[c]
        for k in range(first[c], first[c + 1]):
            for a in range(3):
                forces[i, a] += g[k, a]
                forces[j[k], a] -= g[k, a]
                for b in range(3):
                    strain[a, b] += D[k, a] * g[k, b]
