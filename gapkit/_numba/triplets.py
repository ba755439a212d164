"""Three-body terms: triplets of a centre and two neighbours, their rows, sums over sparse points, and tables.

The energy of a centre i is Σ_{j<k} w(r_ij) w(r_ik) f(r_ij, r_ik, r_jk), w the taper of `gapkit._numba.distances`. The
neighbour of the first species comes first; with two of one species the kernel is the mean of both orders,

    k(T, T_m) = ½ [e(r_ij, a) e(r_ik, b) + e(r_ij, b) e(r_ik, a)] e(r_jk, c),   e(r, a) = exp(-(r - a)²/2ℓ²)

    points  (M, 3)                      a, b, c of the sparse triplets
    begin, end (n_species,)*3 int64     those of a centre's species and its neighbours', first ≤ second
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.distances import add_strain, taper
from gapkit._numba.simd import axpy_at, load, multiply_add, narrow, total


@inlined
def _distance(D, p, k):
    x, y, z = D[p, 0] - D[k, 0], D[p, 1] - D[k, 1], D[p, 2] - D[k, 2]
    return np.sqrt(x * x + y * y + z * z)


@njit
def find_triplets(first, centres, j, D, species, found, key):
    """r_ij, r_ik, r_jk in found (n, 3) and species of centre, first and second neighbour in key (n, 3)."""
    n = 0
    for c in range(len(first) - 1):
        for p in range(first[c], first[c + 1]):
            for k in range(first[c], p):
                a, b = p, k
                if species[j[a]] > species[j[b]]:
                    a, b = b, a
                r, s = np.sqrt(np.sum(D[a] * D[a])), np.sqrt(np.sum(D[b] * D[b]))
                if species[j[a]] == species[j[b]] and r > s:
                    r, s = s, r
                found[n, 0], found[n, 1], found[n, 2] = r, s, _distance(D, p, k)
                key[n, 0], key[n, 1], key[n, 2] = species[centres[c]], species[j[a]], species[j[b]]
                n += 1


@njit
def radii(D, cutoff, width):
    """r, w(r) and w'(r) of every pair, shape (n_pairs, 3)."""
    found = np.empty((len(D), 3))
    for p in range(len(D)):
        r = np.sqrt(D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2])
        w, dw = taper(r, cutoff, width)
        found[p, 0], found[p, 1], found[p, 2] = r, w, dw
    return found


@inlined
def _own(begin, end, z, M):
    """The range of sparse triangles of centres of species z, whose groups stand together."""
    low, high = M, 0
    for a in range(begin.shape[1]):
        for b in range(a, begin.shape[2]):
            if end[z, a, b] > begin[z, a, b]:
                low, high = min(low, begin[z, a, b]), max(high, end[z, a, b])
    return low, max(high, low)


@inlined
def _exponentials(R, low, n, points, inverse, begin, end, E):
    """E[x, p, m] = e(r_p, a_m) for x = 0, e(r_p, b_m) for x = 1."""
    for p in range(n):
        for m in range(begin, end):
            y, z = (R[low + p, 0] - points[m, 0]) * inverse, (R[low + p, 0] - points[m, 1]) * inverse
            E[0, p, m] = np.exp(-0.5 * y * y)
            E[1, p, m] = np.exp(-0.5 * z * z)


@inlined
def _kernel(E, a, b, m, points, r, s, q, inverse, same):
    """k and its derivatives by r_ij, r_ik and r_jk; E of the neighbours a and b, distances r, s and q."""
    z = (q - points[m, 2]) * inverse
    side = np.exp(-0.5 * z * z)
    direct, turned = E[0, a, m] * E[1, b, m] * side, 0.0
    if same:
        direct *= 0.5
        turned = 0.5 * E[1, a, m] * E[0, b, m] * side
    square = inverse * inverse
    ra, rb, sa, sb = r - points[m, 0], r - points[m, 1], s - points[m, 0], s - points[m, 1]
    k = direct + turned
    return k, -square * (ra * direct + rb * turned), -square * (sb * direct + sa * turned), -z * inverse * k


@njit
def triplet_rows(first, centres, j, D, R, species, begin, end, points, length, derivatives, local, forces, virial):
    """Local, force and virial rows of w w k, as `gapkit._numba.distances.pair_rows`; R from `radii`."""
    M, inverse = len(points), 1.0 / length
    largest = 0
    for c in range(len(first) - 1):
        largest = max(largest, first[c + 1] - first[c])
    E, G = np.empty((2, largest, M)), np.empty((largest, 3, M))
    for c in range(len(first) - 1):
        low, n, i = first[c], first[c + 1] - first[c], centres[c]
        begin_i, end_i = _own(begin, end, species[i], M)
        _exponentials(R, low, n, points, inverse, begin_i, end_i, E)
        G[:n, :, begin_i:end_i] = 0.0
        for x in range(n):
            for y in range(x):
                a, b = x, y
                if species[j[low + a]] > species[j[low + b]]:
                    a, b = b, a
                p, k, q = low + a, low + b, _distance(D, low + x, low + y)
                u, v, same = species[j[p]], species[j[k]], species[j[p]] == species[j[k]]
                for m in range(begin[species[i], u, v], end[species[i], u, v]):
                    value, da, db, dq = _kernel(E, a, b, m, points, R[p, 0], R[k, 0], q, inverse, same)
                    both = R[p, 1] * R[k, 1]
                    local[i, m] += both * value
                    if derivatives:
                        side = both * dq / q
                        own = (both * da + R[p, 2] * R[k, 1] * value) / R[p, 0] + side
                        other = (both * db + R[p, 1] * R[k, 2] * value) / R[k, 0] + side
                        for d in range(3):
                            G[a, d, m] += own * D[p, d] - side * D[k, d]
                            G[b, d, m] += other * D[k, d] - side * D[p, d]
        if derivatives:
            for x in range(n):
                p = low + x
                for d in range(3):
                    for m in range(begin_i, end_i):
                        forces[3 * i + d, m] += G[x, d, m]
                        forces[3 * j[p] + d, m] -= G[x, d, m]
                for m in range(begin_i, end_i):
                    add_strain(virial, m, D, p, G[x, 0, m], G[x, 1, m], G[x, 2, m])


@inlined
def _add_triplet(R, D, p, k, q, value, da, db, dq, c, e, g):
    """Energy and pair gradients of one triplet with f = value and its derivatives da, db, dq."""
    both = R[p, 1] * R[k, 1]
    side = both * dq / q
    own = (both * da + R[p, 2] * R[k, 1] * value) / R[p, 0] + side
    other = (both * db + R[p, 1] * R[k, 2] * value) / R[k, 0] + side
    e[c] += both * value
    for d in range(3):
        g[p, d] += own * D[p, d] - side * D[k, d]
        g[k, d] += other * D[k, d] - side * D[p, d]


@njit
def triplet_sums(first, centres, j, D, R, species, begin, end, points, length, weights, e, g):
    """Local energies e and pair gradients g of Σ_m weights_m w w k."""
    M, inverse = len(points), 1.0 / length
    g[:] = 0.0
    largest = 0
    for c in range(len(first) - 1):
        largest = max(largest, first[c + 1] - first[c])
    E = np.empty((2, largest, M))
    for c in range(len(first) - 1):
        low, n, i = first[c], first[c + 1] - first[c], centres[c]
        begin_i, end_i = _own(begin, end, species[i], M)
        _exponentials(R, low, n, points, inverse, begin_i, end_i, E)
        for x in range(n):
            for y in range(x):
                a, b = x, y
                if species[j[low + a]] > species[j[low + b]]:
                    a, b = b, a
                p, k, q = low + a, low + b, _distance(D, low + x, low + y)
                u, v, same = species[j[p]], species[j[k]], species[j[p]] == species[j[k]]
                f, fa, fb, fq = 0.0, 0.0, 0.0, 0.0
                for m in range(begin[species[i], u, v], end[species[i], u, v]):
                    value, da, db, dq = _kernel(E, a, b, m, points, R[p, 0], R[k, 0], q, inverse, same)
                    f += weights[m] * value
                    fa += weights[m] * da
                    fb += weights[m] * db
                    fq += weights[m] * dq
                _add_triplet(R, D, p, k, q, f, fa, fb, fq, c, e, g)


@inlined
def _spline(u, n, B, x):
    """First of the four cubic B-splines at u in B[x : x + 4], their slopes in B[x + 4 : x + 8]; returns the first."""
    u = max(u, 0.0)  # f has vanished before the first knot
    k = min(int(u), n - 4)
    t = u - k
    s = 1.0 - t
    B[x], B[x + 3] = s * s * s / 6.0, t * t * t / 6.0
    B[x + 1] = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
    B[x + 2] = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
    B[x + 4], B[x + 7] = -0.5 * s * s, 0.5 * t * t
    B[x + 5], B[x + 6] = t * (1.5 * t - 2.0), s * (2.0 - 1.5 * s)
    return k


@inlined
def _interpolate(table, at, row, layer, B, p, k, q):
    """f and its derivatives by r_ij, r_ik and r_jk, in steps; B-splines from B[p], B[k] and B[q], table flat."""
    zero = narrow()
    f, fa, fb = zero, zero, zero
    for a in range(4):
        h, hb = zero, zero
        for b in range(4):
            c = load(table, at + a * layer + b * row, zero)
            h = axpy_at(B, k + b, c, h)
            hb = axpy_at(B, k + 4 + b, c, hb)
        f = axpy_at(B, p + a, h, f)
        fa = axpy_at(B, p + 4 + a, h, fa)
        fb = axpy_at(B, p + a, hb, fb)
    value, slope = load(B, q, zero), load(B, q + 4, zero)
    return (
        total(multiply_add(f, value, zero)),
        total(multiply_add(fa, value, zero)),
        total(multiply_add(fb, value, zero)),
        total(multiply_add(f, slope, zero)),
    )


@njit
def triplet_table_sums(first, centres, j, D, R, species, key, table, start, inverse_step, e, g):
    """`triplet_sums` from B-spline coefficients table (n_keys, n_r, n_r, n_q) of the function key[centre, u, v].

    start (2,): first knot of r_ij and r_ik, and of r_jk; equal steps.
    """
    n_r, n_q, n_pairs = table.shape[1], table.shape[3], len(R)
    flat, row, layer = table.reshape(-1), n_q, n_r * n_q
    B, at = np.empty(8 * n_pairs + 8), np.empty(n_pairs, dtype=np.int64)
    for p in range(n_pairs):
        at[p] = _spline((R[p, 0] - start[0]) * inverse_step, n_r, B, 8 * p)
    g[:] = 0.0
    for c in range(len(first) - 1):
        for x in range(first[c], first[c + 1]):
            for y in range(first[c], x):
                p, k = x, y
                if species[j[p]] > species[j[k]]:
                    p, k = k, p
                t = key[species[centres[c]], species[j[p]], species[j[k]]]
                if t < 0:
                    continue
                q = _distance(D, x, y)
                corner = _spline((q - start[1]) * inverse_step, n_q, B, 8 * n_pairs)
                corner += t * n_r * layer + at[p] * layer + at[k] * row
                f, fa, fb, fq = _interpolate(flat, corner, row, layer, B, 8 * p, 8 * k, 8 * n_pairs)
                s = inverse_step
                _add_triplet(R, D, p, k, q, f, s * fa, s * fb, s * fq, c, e, g)
