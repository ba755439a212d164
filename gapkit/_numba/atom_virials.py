"""The virial shared among atoms: half of what each pair gradient has to each of its two atoms."""

from __future__ import annotations

from gapkit._numba import njit


@njit
def pair_virials(centres, first, j, D, g, forces, virials):
    """F_j -= g_ij and W_i, W_j -= ½ sym(D_ij ⊗ g_ij), xx yy zz xy xz yz; forces on the centres are there already."""
    for c in range(centres.shape[0]):
        i = centres[c]
        for k in range(first[c], first[c + 1]):
            x, y, z = D[k, 0], D[k, 1], D[k, 2]
            a, b, d = g[k, 0], g[k, 1], g[k, 2]
            parts = (x * a, y * b, z * d, 0.5 * (x * b + y * a), 0.5 * (x * d + z * a), 0.5 * (y * d + z * b))
            for n in range(6):
                virials[i, n] -= 0.5 * parts[n]
                virials[j[k], n] -= 0.5 * parts[n]
            forces[j[k], 0] -= a
            forces[j[k], 1] -= b
            forces[j[k], 2] -= d
