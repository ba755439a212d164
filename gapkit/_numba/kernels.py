"""Scalar functions of inner products fused with the weights, and the scatter of rows (letters as in gapkit.kernels)."""

from __future__ import annotations

from numba import prange

from gapkit._numba import njit, pjit


@njit
def _integer_power(s, n):
    """s^n by repeated squaring, n ≥ 0."""
    result = 1.0
    while n > 0:
        if n & 1:
            result *= s
        s *= s
        n >>= 1
    return result


@pjit
def power_contract(S, alpha, zeta, e):
    """e_i = Σ_m α_m s_im^ζ; S becomes α_m ζ s_im^(ζ - 1)."""
    for i in prange(S.shape[0]):
        total = 0.0
        for m in range(S.shape[1]):
            below = _integer_power(S[i, m], zeta - 1)
            total += alpha[m] * below * S[i, m]
            S[i, m] = zeta * alpha[m] * below
        e[i] = total


@pjit
def power_value_and_slope(S, factor, zeta, K, slope):
    """K = factor s^ζ and slope = factor ζ s^(ζ - 1)."""
    for i in prange(S.shape[0]):
        for m in range(S.shape[1]):
            below = factor * _integer_power(S[i, m], zeta - 1)
            K[i, m] = below * S[i, m]
            slope[i, m] = zeta * below


@pjit
def add_rows(T, slope, row_first, atom, slot_first, centres, forces, virial):
    """Scatter dk_im = slope_im T_rm of every centre into force rows (-∂/∂r) and virial rows (-∂/∂ε).

    T (n_rows, M) in the row order of `gapkit.descriptors.soap.Tangents`; forces (3 n_atoms, M), virial (6, M).
    Threads own columns, so that no two add to one number and the order of additions is fixed.
    """
    n_columns = T.shape[1]
    n_chunks = (n_columns + 63) // 64
    for chunk in prange(n_chunks):
        low, high = 64 * chunk, min(64 * chunk + 64, n_columns)
        for c in range(centres.shape[0]):
            own = 3 * centres[c]
            row = row_first[c]
            for s in range(slot_first[c], slot_first[c + 1]):
                other = 3 * atom[s]
                for a in range(3):
                    for m in range(low, high):
                        value = slope[c, m] * T[row, m]
                        forces[other + a, m] -= value
                        forces[own + a, m] += value
                    row += 1
            for v in range(6):
                for m in range(low, high):
                    virial[v, m] -= slope[c, m] * T[row, m]
                row += 1


@pjit
def project_rows(J, row_first, Q, norm):
    """J ← (J - (J·q) q) / |p|: tangents of the normalised rows."""
    n_features = J.shape[1]
    for c in prange(Q.shape[0]):
        inverse = 1.0 / norm[c]
        for row in range(row_first[c], row_first[c + 1]):
            overlap = 0.0
            for x in range(n_features):
                overlap += J[row, x] * Q[c, x]
            for x in range(n_features):
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
