"""Lattice sums of 1/r and 1/r⁶ split in two, both parts and their slopes.

    1/r  = g_a + smooth   with   g_a(r) = erfc(a r)/r
    1/r⁶ = g_a + smooth   with   g_a(r) = e^{-u} (1 + u + u²/2)/r⁶,  u = a² r²

The real-space part is summed over pairs here, as g_a - g_b: b damps the interaction itself (b = 0: no damping and
g_b = 0). The smooth part is summed over half of the reciprocal lattice.
"""

from __future__ import annotations

import math

import numpy as np

from gapkit._numba import inlined, njit


@inlined
def coulomb(r, a):
    """g_a(r) and g_a'(r) for 1/r."""
    value = math.erfc(a * r) / r
    return value, -value / r - 2.0 * a / math.sqrt(math.pi) * math.exp(-a * a * r * r) / r


@inlined
def dispersion(r, a):
    """g_a(r) and g_a'(r) for 1/r⁶."""
    u = a * a * r * r
    tail = math.exp(-u) / r**6
    value = tail * (1.0 + u + 0.5 * u * u)
    return value, -(6.0 * value + tail * u * u * u) / r


@inlined
def short_range(r, a, b, power):
    """g_a(r) - g_b(r) and its slope; b = 0: no damping."""
    if power == 1:
        value, slope = coulomb(r, a)
        if b > 0.0:
            minus, minus_slope = coulomb(r, b)
            return value - minus, slope - minus_slope
        return value, slope
    value, slope = dispersion(r, a)
    if b > 0.0:
        minus, minus_slope = dispersion(r, b)
        return value - minus, slope - minus_slope
    return value, slope


@njit
def real_space(first, j, D, charges, kinds, a, b, power, potential, gradient, strain):
    """Add the contributions of the pairs, each pair being listed for both its atoms.

    potential[i, c] = Σ_{j of kind c} q_j g(r_ij)   gradient[i, c] = its slope in r_i   strain[c, d] = dE_cd/dε
    """
    for i in range(len(first) - 1):
        for k in range(first[i], first[i + 1]):
            q, c = charges[j[k]], kinds[j[k]]
            r = np.sqrt(D[k, 0] * D[k, 0] + D[k, 1] * D[k, 1] + D[k, 2] * D[k, 2])
            value, slope = short_range(r, a, b, power)
            potential[i, c] += q * value
            for x in range(3):
                gradient[i, c, x] -= q * slope * D[k, x] / r
                for y in range(3):
                    strain[kinds[i], c, x, y] += 0.5 * charges[i] * q * slope * D[k, x] * D[k, y] / r


@inlined
def phases(scaled, n_max):
    """cos and sin of 2π n s for n = 0 … n_max and every scaled coordinate s, shape (n_max + 1, n_atoms)."""
    real, imaginary = np.empty((n_max + 1, len(scaled))), np.empty((n_max + 1, len(scaled)))
    for i in range(len(scaled)):
        c, s = math.cos(2.0 * math.pi * scaled[i]), math.sin(2.0 * math.pi * scaled[i])
        real[0, i], imaginary[0, i] = 1.0, 0.0
        for n in range(1, n_max + 1):
            real[n, i] = real[n - 1, i] * c - imaginary[n - 1, i] * s
            imaginary[n, i] = real[n - 1, i] * s + imaginary[n - 1, i] * c
    return real, imaginary


@inlined
def waves(n, R0, I0, R1, I1, R2, I2, real, imaginary):
    """e^{ik·r} of all atoms for the reciprocal vector with indices n, from the phases along each cell vector."""
    sign1, sign2 = (1.0 if n[1] >= 0 else -1.0), (1.0 if n[2] >= 0 else -1.0)
    n0, n1, n2 = n[0], abs(n[1]), abs(n[2])
    for i in range(len(real)):
        s1, s2 = sign1 * I1[n1, i], sign2 * I2[n2, i]
        c = R0[n0, i] * R1[n1, i] - I0[n0, i] * s1
        s = R0[n0, i] * s1 + I0[n0, i] * R1[n1, i]
        real[i] = c * R2[n2, i] - s * s2
        imaginary[i] = c * s2 + s * R2[n2, i]


@njit
def reciprocal_space(n, k, G, slope, scaled, charges, kinds, potential, gradient, strain):
    """Add Σ_k G(k) S_c(k)* e^{ik·r_i} over the half lattice n (n_k, 3), k = n B; n[:, 0] ≥ 0.

    G holds both halves and 1/V; slope = dG/d(k²). S_c(k) = Σ_{i of kind c} q_i e^{ik·r_i}.
    """
    n_atoms, n_kinds = potential.shape
    R0, I0 = phases(scaled[:, 0], np.abs(n[:, 0]).max())
    R1, I1 = phases(scaled[:, 1], np.abs(n[:, 1]).max())
    R2, I2 = phases(scaled[:, 2], np.abs(n[:, 2]).max())
    real, imaginary = np.empty(n_atoms), np.empty(n_atoms)
    for m in range(len(n)):
        waves(n[m], R0, I0, R1, I1, R2, I2, real, imaginary)
        A, B = np.zeros(n_kinds), np.zeros(n_kinds)
        for i in range(n_atoms):
            A[kinds[i]] += charges[i] * real[i]
            B[kinds[i]] += charges[i] * imaginary[i]
        for c in range(n_kinds):
            p, q = G[m] * A[c], G[m] * B[c]
            x, y, z = k[m, 0], k[m, 1], k[m, 2]
            for i in range(n_atoms):
                potential[i, c] += p * real[i] + q * imaginary[i]
                turn = q * real[i] - p * imaginary[i]
                gradient[i, c, 0] += turn * x
                gradient[i, c, 1] += turn * y
                gradient[i, c, 2] += turn * z
            for d in range(n_kinds):
                product = 0.5 * (A[c] * A[d] + B[c] * B[d])
                for a in range(3):
                    strain[c, d, a, a] -= product * G[m]
                    for b in range(3):
                        strain[c, d, a, b] -= 2.0 * product * slope[m] * k[m, a] * k[m, b]
