"""The contribution of one neighbour: real solid harmonics and radial functions, with slopes.

Real solid harmonics S_lm = r^l Y_lm at index l² + l + m, without trigonometry and without dividing by r
(recursions: Bigi et al., J. Chem. Phys. 159, 064802 (2023)):

    S_lm = N_lm Π_l^|m|(z, r²) · (A_m if m ≥ 0 else B_|m|),   A_m + i B_m = (x + i y)^m
    Π_m^m = (2m - 1)!!,  (l - m) Π_l^m = (2l - 1) z Π_{l-1}^m - (l + m - 1) r² Π_{l-2}^m
    ∂_z Π_l^m = (l + m) Π_{l-1}^m,   ∂_x Π_l^m = -x Π_{l-1}^{m+1},   ∂_y Π_l^m = -y Π_{l-1}^{m+1}

They are computed for `CHUNK` pairs at a time, the pair being the fastest index, so that every loop is vectorised:

    V (4, CHUNK)                      x, y, z, r²
    A, B (l_max + 1, CHUNK)   P (l_max + 1, l_max + 2, CHUNK)
    S ((l_max + 1)², CHUNK)   G (3, (l_max + 1)², CHUNK) = ∇S

Radial functions come from a table (n_knots, 3, n_radial) of ρ, h ρ', h² ρ'' at knots r = 0, h, 2h, …, between which a
quintic polynomial matches all three at both ends.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined

CHUNK = 40  # no power of two, or the rows of S and G would share a few cache sets


@inlined
def buffers(l_max):
    """Uninitialised V, A, B, P, S, G."""
    n_lm = (l_max + 1) ** 2
    V, A, B = np.empty((4, CHUNK)), np.empty((l_max + 1, CHUNK)), np.empty((l_max + 1, CHUNK))
    P, S, G = np.empty((l_max + 1, l_max + 2, CHUNK)), np.empty((n_lm, CHUNK)), np.empty((3, n_lm, CHUNK))
    return V, A, B, P, S, G


@inlined
def gather(D, start, n, V):
    """V of pairs start … start + n - 1; the rest of the chunk is zero."""
    V[:, n:] = 0.0
    for k in range(n):
        x, y, z = D[start + k, 0], D[start + k, 1], D[start + k, 2]
        V[0, k] = x
        V[1, k] = y
        V[2, k] = z
        V[3, k] = x * x + y * y + z * z


@inlined
def _azimuthal(V, A, B):
    """A_m + i B_m = (x + i y)^m."""
    A[0] = 1.0
    B[0] = 0.0
    for m in range(1, A.shape[0]):
        for k in range(CHUNK):
            a, b = A[m - 1, k], B[m - 1, k]
            A[m, k] = V[0, k] * a - V[1, k] * b
            B[m, k] = V[0, k] * b + V[1, k] * a


@inlined
def _polar(V, P):
    """Π_l^m in P[l, m] for m ≤ l, zero for m = l + 1."""
    P[0, 0] = 1.0
    P[0, 1] = 0.0
    for l in range(1, P.shape[0]):
        P[l, l + 1] = 0.0
        for k in range(CHUNK):
            diagonal = (2 * l - 1) * P[l - 1, l - 1, k]
            P[l, l, k] = diagonal
            P[l, l - 1, k] = V[2, k] * diagonal
        for m in range(l - 1):
            up, down = (2 * l - 1) / (l - m), (l + m - 1) / (l - m)
            for k in range(CHUNK):
                P[l, m, k] = up * V[2, k] * P[l - 1, m, k] - down * V[3, k] * P[l - 2, m, k]


@inlined
def factors(V, A, B, P):
    """A, B and Π, of which harmonics and their gradients are products."""
    _azimuthal(V, A, B)
    _polar(V, P)


@inlined
def harmonics(V, norm, A, B, P, S):
    """S_lm of a chunk; norm[l, m] = N_lm."""
    factors(V, A, B, P)
    for l in range(norm.shape[0]):
        centre, N = l * l + l, norm[l, 0]
        for k in range(CHUNK):
            S[centre, k] = N * P[l, 0, k]
        for m in range(1, l + 1):
            N = norm[l, m]
            for k in range(CHUNK):
                value = N * P[l, m, k]
                S[centre + m, k] = value * A[m, k]
                S[centre - m, k] = value * B[m, k]


@inlined
def harmonics_gradient(V, norm, A, B, P, G):
    """∇S_lm, from the A, B, P of `factors`, which `harmonics` leaves behind, too."""
    G[:, 0] = 0.0
    for l in range(1, norm.shape[0]):
        centre, N = l * l + l, norm[l, 0]
        for k in range(CHUNK):
            G[0, centre, k] = -N * V[0, k] * P[l - 1, 1, k]
            G[1, centre, k] = -N * V[1, k] * P[l - 1, 1, k]
            G[2, centre, k] = N * l * P[l - 1, 0, k]
        for m in range(1, l + 1):
            above = min(m + 1, l)  # Π_{l-1}^l = 0 is stored, Π_{l-1}^{l+1} = 0 is not
            N, Nm, Nlm = norm[l, m], norm[l, m] * m, norm[l, m] * (l + m)
            for k in range(CHUNK):
                p, x = Nm * P[l, m, k], N * V[0, k] * P[l - 1, above, k]
                G[0, centre + m, k] = p * A[m - 1, k] - x * A[m, k]
                G[0, centre - m, k] = p * B[m - 1, k] - x * B[m, k]
            for k in range(CHUNK):
                p, y = Nm * P[l, m, k], N * V[1, k] * P[l - 1, above, k]
                G[1, centre + m, k] = -p * B[m - 1, k] - y * A[m, k]
                G[1, centre - m, k] = p * A[m - 1, k] - y * B[m, k]
            for k in range(CHUNK):
                z = Nlm * P[l - 1, m, k]
                G[2, centre + m, k] = z * A[m, k]
                G[2, centre - m, k] = z * B[m, k]


@inlined
def hermite(u, n_knots, factor):
    """Knot below u = r/h and the six weights of ρ, h ρ', h² ρ'' there and at the next knot, times `factor`."""
    k = min(int(u), n_knots - 2)
    t = u - k
    s = 1.0 - t
    s3, t3 = factor * s * s * s, factor * t * t * t
    left = (s3 * (1.0 + 3.0 * t + 6.0 * t * t), s3 * t * (1.0 + 3.0 * t), 0.5 * s3 * t * t)
    right = (t3 * (1.0 + 3.0 * s + 6.0 * s * s), -t3 * s * (1.0 + 3.0 * s), 0.5 * t3 * s * s)
    return k, left, right


@inlined
def hermite_slope(u, n_knots, factor):
    """The derivatives of `hermite`'s weights with respect to u, times `factor`."""
    t = u - min(int(u), n_knots - 2)
    s = 1.0 - t
    s2, t2 = factor * s * s, factor * t * t
    left = (-30.0 * t2 * s * s, s2 * (1.0 + 2.0 * t - 15.0 * t * t), 0.5 * t * s2 * (2.0 - 5.0 * t))
    right = (30.0 * t2 * s * s, t2 * (1.0 + 2.0 * s - 15.0 * s * s), -0.5 * s * t2 * (2.0 - 5.0 * s))
    return left, right
