"""Atom-centred symmetry functions, their pull-back and their tangents.

Functions of a centre i and its neighbours j, k, one for each species or two species of neighbours:

    G1 = Σ_j f(r_ij)      G2 = Σ_j exp(-η (r_ij - r_s)²) f(r_ij)      G3 = Σ_j cos(κ r_ij) f(r_ij)
    G4 = Σ_{j<k} 2 [(1 + λ cos θ)/2]^ζ exp(-η (r_ij² + r_ik² + r_jk²)) f(r_ij) f(r_ik) f(r_jk)
    G5 = the same without r_jk;   f(r) = (1 + cos(π r/cutoff))/2, 0 beyond

Arrays:

    two     (n_two, 3)    kind 1, 2 or 3; η or κ; r_s
    three   (n_three, 4)  kind 4 or 5; η; ζ; λ
    column2 (n_species, n_two) int64, column3 (n_species, n_species, n_three) int64: feature of the neighbours' species
            and function, -1 where there is none
    slot, n_slots, row_first as in `gapkit._numba.tangents`
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit


@inlined
def _cutoff(r, cutoff):
    if r >= cutoff:
        return 0.0, 0.0
    x = np.pi * r / cutoff
    return 0.5 * (1.0 + np.cos(x)), -0.5 * np.pi / cutoff * np.sin(x)


@inlined
def _two_body(kind, a, b, r, f, df):
    """Value and d/dr."""
    if kind == 2.0:
        z = r - b
        gauss = np.exp(-a * z * z)
        return gauss * f, gauss * (df - 2.0 * a * z * f)
    if kind == 3.0:
        return np.cos(a * r) * f, np.cos(a * r) * df - a * np.sin(a * r) * f
    return f, df


@inlined
def _angular(c, zeta, sign):
    """2 [(1 + λ c)/2]^ζ and d/dc, ζ ≥ 1."""
    x = max(0.5 * (1.0 + sign * c), 0.0)
    below = x ** (zeta - 1.0) if x > 0.0 or zeta == 1.0 else 0.0
    return 2.0 * x * below, zeta * sign * below


@inlined
def _three_body(kind, eta, zeta, sign, r, s, q, c, f, df, h, dh, t, dt):
    """Value and derivatives by r_ij, r_ik, r_jk and cos θ; r, f, df; s, h, dh; q, t, dt: distances and cutoffs."""
    angle, dangle = _angular(c, zeta, sign)
    if kind == 4.0:
        gauss = np.exp(-eta * (r * r + s * s + q * q))
        value = angle * gauss
        a, b, d = value * (df - 2.0 * eta * r * f) * h * t, value * f * (dh - 2.0 * eta * s * h) * t, f * h
        return value * f * h * t, a, b, value * d * (dt - 2.0 * eta * q * t), dangle * gauss * f * h * t
    gauss = np.exp(-eta * (r * r + s * s))
    value = angle * gauss
    a, b = value * (df - 2.0 * eta * r * f) * h, value * f * (dh - 2.0 * eta * s * h)
    return value * f * h, a, b, 0.0, dangle * gauss * f * h


@inlined
def _triangle(D, p, k, r, s):
    """cos θ and r_jk of the pairs p and k of one centre."""
    dot, square = 0.0, 0.0
    for a in range(3):
        dot += D[p, a] * D[k, a]
        square += (D[p, a] - D[k, a]) ** 2
    return dot / (r * s), np.sqrt(square)


@njit
def radii(D, cutoff):
    """r, f(r) and f'(r) of every pair, shape (n_pairs, 3)."""
    found = np.empty((len(D), 3))
    for p in range(len(D)):
        r = np.sqrt(D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2])
        f, df = _cutoff(r, cutoff)
        found[p, 0], found[p, 1], found[p, 2] = r, f, df
    return found


@njit
def values(first, species, D, R, cutoff, two, three, column2, column3, G):
    """Add every function to G (n_centres, n_features); species (n_pairs,) of the neighbours, R from `radii`."""
    for c in range(len(first) - 1):
        for p in range(first[c], first[c + 1]):
            for x in range(len(two)):
                q = column2[species[p], x]
                if q >= 0:
                    G[c, q] += _two_body(two[x, 0], two[x, 1], two[x, 2], R[p, 0], R[p, 1], R[p, 2])[0]
            if len(three) > 0:
                for k in range(first[c], p):
                    cosine, r = _triangle(D, p, k, R[p, 0], R[k, 0])
                    t, dt = _cutoff(r, cutoff)
                    for x in range(len(three)):
                        q = column3[species[p], species[k], x]
                        if q >= 0 and (three[x, 0] == 5.0 or t > 0.0):
                            G[c, q] += _three_body(
                                three[x, 0], three[x, 1], three[x, 2], three[x, 3], R[p, 0], R[k, 0], r, cosine,
                                R[p, 1], R[p, 2], R[k, 1], R[k, 2], t, dt,
                            )[0]  # fmt: skip


@inlined
def _pair_vectors(D, p, k, r, s, q, cosine, a, b, d, dc, g):
    """∂/∂D_p in g[0], ∂/∂D_k in g[1] from the derivatives a, b, d by r_ij, r_ik, r_jk and dc by cos θ."""
    across, own, other, side = dc / (r * s), (a - dc * cosine / r) / r, (b - dc * cosine / s) / s, d / q
    for x in range(3):
        edge = side * (D[p, x] - D[k, x])
        g[0, x] = own * D[p, x] + across * D[k, x] + edge
        g[1, x] = other * D[k, x] + across * D[p, x] - edge


@njit
def pullback(first, species, D, R, cutoff, two, three, column2, column3, cotangent, g):
    """g_p = ∂(Σ cotangent G)/∂D_p, shape (n_pairs, 3)."""
    g[:] = 0.0
    v = np.empty((2, 3))
    for c in range(len(first) - 1):
        for p in range(first[c], first[c + 1]):
            slope = 0.0
            for x in range(len(two)):
                q = column2[species[p], x]
                if q >= 0:
                    _, d = _two_body(two[x, 0], two[x, 1], two[x, 2], R[p, 0], R[p, 1], R[p, 2])
                    slope += cotangent[c, q] * d
            for a in range(3):
                g[p, a] += slope / R[p, 0] * D[p, a]
            if len(three) > 0:
                for k in range(first[c], p):
                    cosine, r = _triangle(D, p, k, R[p, 0], R[k, 0])
                    t, dt = _cutoff(r, cutoff)
                    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
                    for x in range(len(three)):
                        q = column3[species[p], species[k], x]
                        if q >= 0 and (three[x, 0] == 5.0 or t > 0.0):
                            _, d0, d1, d2, d3 = _three_body(
                                three[x, 0], three[x, 1], three[x, 2], three[x, 3], R[p, 0], R[k, 0], r, cosine,
                                R[p, 1], R[p, 2], R[k, 1], R[k, 2], t, dt,
                            )  # fmt: skip
                            w = cotangent[c, q]
                            s0 += w * d0
                            s1 += w * d1
                            s2 += w * d2
                            s3 += w * d3
                    _pair_vectors(D, p, k, R[p, 0], R[k, 0], r, cosine, s0, s1, s2, s3, v)
                    for a in range(3):
                        g[p, a] += v[0, a]
                        g[k, a] += v[1, a]


@inlined
def _add_tangent(J, begin, frame, slot, p, q, D, v, which):
    """Add v = ∂G_q/∂D_p to the rows of its neighbour, of the centre and of the strain."""
    g0, g1, g2 = v[which, 0], v[which, 1], v[which, 2]
    if slot[p] >= 0:
        row = begin + 3 * slot[p]
        J[row, q] += g0
        J[row + 1, q] += g1
        J[row + 2, q] += g2
        J[frame, q] -= g0
        J[frame + 1, q] -= g1
        J[frame + 2, q] -= g2
    J[frame + 3, q] += D[p, 0] * g0
    J[frame + 4, q] += D[p, 1] * g1
    J[frame + 5, q] += D[p, 2] * g2
    J[frame + 6, q] += 0.5 * (D[p, 1] * g2 + D[p, 2] * g1)
    J[frame + 7, q] += 0.5 * (D[p, 0] * g2 + D[p, 2] * g0)
    J[frame + 8, q] += 0.5 * (D[p, 0] * g1 + D[p, 1] * g0)


@njit
def tangents(first, species, D, R, cutoff, two, three, column2, column3, slot, n_slots, row_first, J):
    """J (n_rows, n_features), overwritten."""
    J[:] = 0.0
    v = np.empty((2, 3))
    for c in range(len(first) - 1):
        begin, frame = row_first[c], row_first[c] + 3 * n_slots[c]
        for p in range(first[c], first[c + 1]):
            for x in range(len(two)):
                q = column2[species[p], x]
                if q >= 0:
                    _, d = _two_body(two[x, 0], two[x, 1], two[x, 2], R[p, 0], R[p, 1], R[p, 2])
                    for a in range(3):
                        v[0, a] = d / R[p, 0] * D[p, a]
                    _add_tangent(J, begin, frame, slot, p, q, D, v, 0)
            if len(three) > 0:
                for k in range(first[c], p):
                    cosine, r = _triangle(D, p, k, R[p, 0], R[k, 0])
                    t, dt = _cutoff(r, cutoff)
                    for x in range(len(three)):
                        q = column3[species[p], species[k], x]
                        if q >= 0 and (three[x, 0] == 5.0 or t > 0.0):
                            _, d0, d1, d2, d3 = _three_body(
                                three[x, 0], three[x, 1], three[x, 2], three[x, 3], R[p, 0], R[k, 0], r, cosine,
                                R[p, 1], R[p, 2], R[k, 1], R[k, 2], t, dt,
                            )  # fmt: skip
                            _pair_vectors(D, p, k, R[p, 0], R[k, 0], r, cosine, d0, d1, d2, d3, v)
                            _add_tangent(J, begin, frame, slot, p, q, D, v, 0)
                            _add_tangent(J, begin, frame, slot, k, q, D, v, 1)
