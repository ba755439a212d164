"""Functions of distances: transforms t(r), tapers, and the rows and folded sums of two-body terms.

With x = (r - cutoff + width)/width and the cutoff c:

    taper     1 up to cutoff - width, then (1 - x)⁴ (1 + 4x + 10x² + 20x³), 0 from the cutoff on: three continuous
              derivatives at both ends
    transform 0: t = r; 1: t = c ln(r/c); 2: t = -c²/r, so that dt/dr = 1 at the cutoff

first, centres, j, D: pairs by centre as in `gapkit.geometry.neighbourhoods`; species: index of each atom's species.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.pairs import hermite, hermite_slope


@inlined
def taper(r, cutoff, width):
    """Value and derivative."""
    x = (r - cutoff + width) / width
    if x <= 0.0:
        return 1.0, 0.0
    if x >= 1.0:
        return 0.0, 0.0
    y = 1.0 - x
    y3 = y * y * y
    return y3 * y * (1.0 + x * (4.0 + x * (10.0 + 20.0 * x))), -140.0 * x * x * x * y3 / width


@inlined
def transform(r, cutoff, kind):
    """t(r) and dt/dr."""
    if kind == 1:
        return cutoff * np.log(r / cutoff), cutoff / r
    if kind == 2:
        return -cutoff * cutoff / r, cutoff * cutoff / (r * r)
    return r, 1.0


@inlined
def add_strain(virial, m, D, p, g0, g1, g2):
    """virial -= the symmetric part of D ⊗ g, xx yy zz yz xz xy."""
    virial[0, m] -= D[p, 0] * g0
    virial[1, m] -= D[p, 1] * g1
    virial[2, m] -= D[p, 2] * g2
    virial[3, m] -= 0.5 * (D[p, 1] * g2 + D[p, 2] * g1)
    virial[4, m] -= 0.5 * (D[p, 0] * g2 + D[p, 2] * g0)
    virial[5, m] -= 0.5 * (D[p, 0] * g1 + D[p, 1] * g0)


@njit
def pair_rows(
    first, centres, j, D, species, begin, end, points, length, cutoff, width, kind, derivatives, local, forces, virial
):
    """Local, force and virial rows of ½ taper(r) exp(-(t(r) - t_m)²/2ℓ²).

    points (M,) are t_m, those of species a and b being begin[a, b]:end[a, b]; local (n_atoms, M), forces (3 n_atoms,
    M), virial (6, M).
    """
    inverse = 1.0 / length
    for c in range(len(first) - 1):
        i = centres[c]
        for p in range(first[c], first[c + 1]):
            r = np.sqrt(D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2])
            f, df = taper(r, cutoff, width)
            t, dt = transform(r, cutoff, kind)
            a, b = species[i], species[j[p]]
            for m in range(begin[a, b], end[a, b]):
                z = (t - points[m]) * inverse
                k = 0.5 * np.exp(-0.5 * z * z)
                local[i, m] += f * k
                if derivatives:
                    slope = (df - f * dt * z * inverse) * k / r
                    g0, g1, g2 = slope * D[p, 0], slope * D[p, 1], slope * D[p, 2]
                    forces[3 * i, m] += g0
                    forces[3 * i + 1, m] += g1
                    forces[3 * i + 2, m] += g2
                    forces[3 * j[p], m] -= g0
                    forces[3 * j[p] + 1, m] -= g1
                    forces[3 * j[p] + 2, m] -= g2
                    add_strain(virial, m, D, p, g0, g1, g2)


@njit
def pair_energies(first, centres, j, D, species, key, table, start, inverse_step, cutoff, width, kind, e, g):
    """Local energies and pair gradients of ½ taper(r) f(t(r)).

    table (n_keys, n_knots, 3): f, h f', h² f'' at t = start + k h of the species pair key[a, b]; f = 0 below `start`.
    """
    n_knots = table.shape[1]
    for c in range(len(first) - 1):
        for p in range(first[c], first[c + 1]):
            r = np.sqrt(D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2])
            t, dt = transform(r, cutoff, kind)
            u, q = (t - start) * inverse_step, key[species[centres[c]], species[j[p]]]
            slope = 0.0
            if u >= 0.0 and q >= 0:
                taper_r, dtaper = taper(r, cutoff, width)
                k, left, right = hermite(u, n_knots, 0.5)
                dleft, dright = hermite_slope(u, n_knots, 0.5 * inverse_step)
                f, df = 0.0, 0.0
                for x in range(3):
                    f += left[x] * table[q, k, x] + right[x] * table[q, k + 1, x]
                    df += dleft[x] * table[q, k, x] + dright[x] * table[q, k + 1, x]
                e[c] += taper_r * f
                slope = (taper_r * df * dt + dtaper * f) / r
            for a in range(3):
                g[p, a] = slope * D[p, a]
