"""Density expansion, power spectrum and their pull-backs (theory: c, p, x̄ → c̄ → g), one centre per thread.

Arrays, all C-contiguous float64 unless said:

    first    (n_centres + 1,) int64   pairs of centre i are first[i]:first[i + 1]
    channel  (n_pairs,) int64         density channel of the neighbour (its species, or 0 when species are merged)
    weight   (n_pairs,)               weight of the neighbour's density
    D        (n_pairs, 3)             r_j - r_i, Å
    table    (n_knots, 3, n_radial)   ρ, h ρ', h² ρ'' at the knots of a quintic spline, n_radial = (l_max + 1) n_max
    c        (n_centres, n_channels, (l_max + 1)², n_max)   density coefficients, n fastest
    blocks   (n_blocks, 3) int64      channels a, b and the first feature of each block; a = b: upper triangle n ≤ n'

Real solid harmonics S_lm = r^l Y_lm at index l² + l + m, without trigonometry and without dividing by r
(recursions: Bigi et al., J. Chem. Phys. 159, 064802 (2023)):

    S_lm = N_lm Π_l^|m|(z, r²) · (A_m if m ≥ 0 else B_|m|),   A_m + i B_m = (x + i y)^m
    Π_m^m = (2m - 1)!!,  (l - m) Π_l^m = (2l - 1) z Π_{l-1}^m - (l + m - 1) r² Π_{l-2}^m
    ∂_z Π_l^m = (l + m) Π_{l-1}^m,   ∂_x Π_l^m = -x Π_{l-1}^{m+1},   ∂_y Π_l^m = -y Π_{l-1}^{m+1}

Tangents, for training: rows of ∂p_i/∂(atom positions, strain), images of one atom summed first. The rows of centre i
are 3 for every distinct neighbour atom j ≠ i (x, y, z of ∂p_i/∂r_j), then 6 for the symmetric strain (xx yy zz yz xz xy
of ∂p_i/∂ε). Its own position rows are minus the sum of its neighbours' and never stored.

    slot      (n_pairs,) int64        row block of its centre that a pair adds to, -1 for an image of the centre
    row_first (n_centres + 1,) int64  rows of centre i are row_first[i]:row_first[i + 1]
"""

from __future__ import annotations

import numpy as np
from numba import prange

from gapkit._numba import njit, pjit


@njit
def _azimuthal(x, y, l_max, A, B):
    """A_m + i B_m = (x + i y)^m for m = 0 … l_max."""
    A[0] = 1.0
    B[0] = 0.0
    for m in range(1, l_max + 1):
        A[m] = x * A[m - 1] - y * B[m - 1]
        B[m] = x * B[m - 1] + y * A[m - 1]


@njit
def _polar(z, r2, l_max, P):
    """Π_l^m in P[l, m] for m ≤ l, zero for m = l + 1."""
    P[0, 0] = 1.0
    P[0, 1] = 0.0
    for l in range(1, l_max + 1):
        P[l, l] = (2 * l - 1) * P[l - 1, l - 1]
        P[l, l + 1] = 0.0
        for m in range(l):
            below = P[l - 2, m] if m <= l - 2 else 0.0
            P[l, m] = ((2 * l - 1) * z * P[l - 1, m] - (l + m - 1) * r2 * below) / (l - m)


@njit
def _harmonics(x, y, z, l_max, norm, A, B, P, S):
    """S_lm of one vector; norm[l, m] = N_lm."""
    _azimuthal(x, y, l_max, A, B)
    _polar(z, x * x + y * y + z * z, l_max, P)
    for l in range(l_max + 1):
        centre = l * l + l
        S[centre] = norm[l, 0] * P[l, 0]
        for m in range(1, l + 1):
            value = norm[l, m] * P[l, m]
            S[centre + m] = value * A[m]
            S[centre - m] = value * B[m]


@njit
def _harmonics_gradient(x, y, l_max, norm, A, B, P, G):
    """∇S_lm in G[3, lm], from the A, B, P that `_harmonics` left behind."""
    G[0, 0] = 0.0
    G[1, 0] = 0.0
    G[2, 0] = 0.0
    for l in range(1, l_max + 1):
        centre = l * l + l
        for m in range(l + 1):
            p = norm[l, m] * P[l, m]
            radial = norm[l, m] * P[l - 1, m + 1] if m + 1 <= l - 1 else 0.0
            pz = norm[l, m] * (l + m) * P[l - 1, m] if m <= l - 1 else 0.0
            low_a = m * A[m - 1] if m > 0 else 0.0
            low_b = m * B[m - 1] if m > 0 else 0.0
            G[0, centre + m] = p * low_a - x * radial * A[m]
            G[1, centre + m] = -p * low_b - y * radial * A[m]
            G[2, centre + m] = pz * A[m]
            if m > 0:
                G[0, centre - m] = p * low_b - x * radial * B[m]
                G[1, centre - m] = p * low_a - y * radial * B[m]
                G[2, centre - m] = pz * B[m]


@njit
def _radial(r, inverse_step, table, rho):
    """ρ_nl(r): quintic Hermite interpolation between two knots."""
    u = r * inverse_step
    k = min(int(u), table.shape[0] - 2)
    t = u - k
    s = 1.0 - t
    a0 = s * s * s * (1.0 + 3.0 * t + 6.0 * t * t)
    a1 = s * s * s * t * (1.0 + 3.0 * t)
    a2 = 0.5 * s * s * s * t * t
    b0 = t * t * t * (1.0 + 3.0 * s + 6.0 * s * s)
    b1 = -t * t * t * s * (1.0 + 3.0 * s)
    b2 = 0.5 * t * t * t * s * s
    left = table[k]
    right = table[k + 1]
    for q in range(rho.shape[0]):
        rho[q] = (
            a0 * left[0, q] + a1 * left[1, q] + a2 * left[2, q] + b0 * right[0, q] + b1 * right[1, q] + b2 * right[2, q]
        )


@njit
def _radial_slope(r, inverse_step, table, rho, slope):
    """ρ_nl(r) and dρ_nl/dr of the same interpolant, so that forces are its exact derivative."""
    _radial(r, inverse_step, table, rho)
    u = r * inverse_step
    k = min(int(u), table.shape[0] - 2)
    t = u - k
    s = 1.0 - t
    d0 = -30.0 * t * t * s * s * inverse_step
    a1 = s * s * (1.0 + 2.0 * t - 15.0 * t * t) * inverse_step
    b1 = t * t * (1.0 + 2.0 * s - 15.0 * s * s) * inverse_step
    a2 = 0.5 * t * s * s * (2.0 - 5.0 * t) * inverse_step
    b2 = -0.5 * s * t * t * (2.0 - 5.0 * s) * inverse_step
    left = table[k]
    right = table[k + 1]
    for q in range(rho.shape[0]):
        slope[q] = (
            d0 * (left[0, q] - right[0, q]) + a1 * left[1, q] + a2 * left[2, q] + b1 * right[1, q] + b2 * right[2, q]
        )


@pjit
def expand(first, channel, weight, D, inverse_step, table, norm, c):
    """Add every pair's ρ_nl(r) S_lm(D) to c, which holds the centre's own contribution already."""
    n_lm, n_max = c.shape[2], c.shape[3]
    l_max = norm.shape[0] - 1
    for i in prange(first.shape[0] - 1):
        A, B = np.empty(l_max + 1), np.empty(l_max + 1)
        P, S = np.empty((l_max + 1, l_max + 2)), np.empty(n_lm)
        rho = np.empty(table.shape[2])
        for k in range(first[i], first[i + 1]):
            x, y, z = D[k, 0], D[k, 1], D[k, 2]
            _radial(np.sqrt(x * x + y * y + z * z), inverse_step, table, rho)
            _harmonics(x, y, z, l_max, norm, A, B, P, S)
            target = c[i, channel[k]]
            for l in range(l_max + 1):
                radial = rho[l * n_max : (l + 1) * n_max]
                for lm in range(l * l, (l + 1) * (l + 1)):
                    value = weight[k] * S[lm]
                    row = target[lm]
                    for n in range(n_max):
                        row[n] += value * radial[n]


@njit
def _store_block(full, prefactor, triangle, p):
    """Write one (l, n, n') block of `full` into features in dscribe's order; returns nothing."""
    n_max = full.shape[0]
    q = 0
    for n in range(n_max):
        for k in range(n if triangle else 0, n_max):
            p[q] = prefactor * full[n, k]
            q += 1


@pjit
def power_spectrum(c, blocks, prefactor, p):
    """p^{ab}_{l n n'} = prefactor_l Σ_m c^a_{nlm} c^b_{n'lm}."""
    n_max = c.shape[3]
    n_l = prefactor.shape[0]
    for i in prange(c.shape[0]):
        full = np.empty((n_max, n_max))
        for block in range(blocks.shape[0]):
            a, b, start = blocks[block, 0], blocks[block, 1], blocks[block, 2]
            size = n_max * (n_max + 1) // 2 if a == b else n_max * n_max
            for l in range(n_l):
                full[:] = 0.0
                for lm in range(l * l, (l + 1) * (l + 1)):
                    right = c[i, b, lm]
                    for n in range(n_max):
                        value = c[i, a, lm, n]
                        for k in range(n_max):
                            full[n, k] += value * right[k]
                _store_block(full, prefactor[l], a == b, p[i, start + l * size : start + (l + 1) * size])


@njit
def _load_block(p_bar, prefactor, triangle, full):
    """The cotangent of one (l, n, n') block as a full matrix; a triangle becomes G + Gᵀ."""
    n_max = full.shape[0]
    q = 0
    for n in range(n_max):
        for k in range(n if triangle else 0, n_max):
            full[n, k] = prefactor * p_bar[q]
            q += 1
    if triangle:
        for n in range(n_max):
            full[n, n] *= 2.0
            for k in range(n):
                full[n, k] = full[k, n]


@pjit
def power_spectrum_pullback(c, blocks, prefactor, p_bar, c_bar):
    """c̄ += ∂(p̄·p)/∂c."""
    n_max = c.shape[3]
    n_l = prefactor.shape[0]
    for i in prange(c.shape[0]):
        full = np.empty((n_max, n_max))
        for block in range(blocks.shape[0]):
            a, b, start = blocks[block, 0], blocks[block, 1], blocks[block, 2]
            size = n_max * (n_max + 1) // 2 if a == b else n_max * n_max
            for l in range(n_l):
                _load_block(p_bar[i, start + l * size : start + (l + 1) * size], prefactor[l], a == b, full)
                for lm in range(l * l, (l + 1) * (l + 1)):
                    left_bar = c_bar[i, a, lm]
                    for n in range(n_max):
                        value = c[i, b, lm, n]
                        for k in range(n_max):
                            left_bar[k] += value * full[k, n] if a != b else value * full[n, k]
                    if a != b:
                        right_bar = c_bar[i, b, lm]
                        for n in range(n_max):
                            value = c[i, a, lm, n]
                            for k in range(n_max):
                                right_bar[k] += value * full[n, k]


@pjit
def pair_gradients(first, channel, weight, D, inverse_step, table, norm, c_bar, g):
    """g_ij = Σ_nlm c̄_nlm ∂[ρ_nl(r) S_lm(D)]/∂D_ij."""
    n_lm, n_max = c_bar.shape[2], c_bar.shape[3]
    l_max = norm.shape[0] - 1
    for i in prange(first.shape[0] - 1):
        A, B = np.empty(l_max + 1), np.empty(l_max + 1)
        P, S, G = np.empty((l_max + 1, l_max + 2)), np.empty(n_lm), np.empty((3, n_lm))
        rho, slope = np.empty(table.shape[2]), np.empty(table.shape[2])
        for k in range(first[i], first[i + 1]):
            x, y, z = D[k, 0], D[k, 1], D[k, 2]
            r = np.sqrt(x * x + y * y + z * z)
            _radial_slope(r, inverse_step, table, rho, slope)
            _harmonics(x, y, z, l_max, norm, A, B, P, S)
            _harmonics_gradient(x, y, l_max, norm, A, B, P, G)
            source = c_bar[i, channel[k]]
            along, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
            for l in range(l_max + 1):
                radial = rho[l * n_max : (l + 1) * n_max]
                radial_slope = slope[l * n_max : (l + 1) * n_max]
                for lm in range(l * l, (l + 1) * (l + 1)):
                    value, derivative = 0.0, 0.0
                    row = source[lm]
                    for n in range(n_max):
                        value += row[n] * radial[n]
                        derivative += row[n] * radial_slope[n]
                    along += derivative * S[lm]
                    gx += value * G[0, lm]
                    gy += value * G[1, lm]
                    gz += value * G[2, lm]
            along /= r
            g[k, 0] = weight[k] * (gx + along * x)
            g[k, 1] = weight[k] * (gy + along * y)
            g[k, 2] = weight[k] * (gz + along * z)


@njit
def _pair_tangent(x, y, z, weight, inverse_step, table, norm, A, B, P, S, G, rho, slope, dc):
    """∂[w ρ_nl(r) S_lm(D)]/∂D in dc[3, lm, n] (overwritten)."""
    n_max = dc.shape[2]
    l_max = norm.shape[0] - 1
    r = np.sqrt(x * x + y * y + z * z)
    _radial_slope(r, inverse_step, table, rho, slope)
    _harmonics(x, y, z, l_max, norm, A, B, P, S)
    _harmonics_gradient(x, y, l_max, norm, A, B, P, G)
    for l in range(l_max + 1):
        for lm in range(l * l, (l + 1) * (l + 1)):
            along = S[lm] / r
            for n in range(n_max):
                value = weight * rho[l * n_max + n]
                derivative = weight * slope[l * n_max + n] * along
                dc[0, lm, n] = value * G[0, lm] + derivative * x
                dc[1, lm, n] = value * G[1, lm] + derivative * y
                dc[2, lm, n] = value * G[2, lm] + derivative * z


@njit
def _push(c, dc, channel, blocks, prefactor, full, row):
    """row += Σ_m (∂c c + c ∂c): the power spectrum's tangent when only `channel` moves by dc[lm, n]."""
    n_max = c.shape[2]
    for block in range(blocks.shape[0]):
        a, b, start = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        if a != channel and b != channel:
            continue
        q = start
        for l in range(prefactor.shape[0]):
            full[:] = 0.0
            for lm in range(l * l, (l + 1) * (l + 1)):
                for n in range(n_max):
                    if a == b:
                        moved, still = dc[lm, n], c[a, lm, n]
                        for k in range(n_max):
                            full[n, k] += moved * c[a, lm, k] + still * dc[lm, k]
                    elif a == channel:
                        moved = dc[lm, n]
                        for k in range(n_max):
                            full[n, k] += moved * c[b, lm, k]
                    else:
                        still = c[a, lm, n]
                        for k in range(n_max):
                            full[n, k] += still * dc[lm, k]
            for n in range(n_max):
                for k in range(n if a == b else 0, n_max):
                    row[q] += prefactor[l] * full[n, k]
                    q += 1


@pjit
def tangents(
    first, channel, weight, D, slot, n_slots, inverse_step, table, norm, c, total, blocks, prefactor, row_first, J
):
    """J[row, feature], rows as above; `total` is the channel that sums all species, or -1."""
    n_channels, n_lm, n_max = c.shape[1], c.shape[2], c.shape[3]
    l_max = norm.shape[0] - 1
    for i in prange(first.shape[0] - 1):
        A, B = np.empty(l_max + 1), np.empty(l_max + 1)
        P, S, G = np.empty((l_max + 1, l_max + 2)), np.empty(n_lm), np.empty((3, n_lm))
        rho, slope = np.empty(table.shape[2]), np.empty(table.shape[2])
        pair = np.empty((3, n_lm, n_max))
        atom = np.zeros((n_slots[i], 3, n_lm, n_max))
        atom_channel = np.zeros(n_slots[i], dtype=np.int64)
        strain = np.zeros((6, n_channels, n_lm, n_max))
        full = np.empty((n_max, n_max))
        for k in range(first[i], first[i + 1]):
            x, y, z = D[k, 0], D[k, 1], D[k, 2]
            _pair_tangent(x, y, z, weight[k], inverse_step, table, norm, A, B, P, S, G, rho, slope, pair)
            ch = channel[k]
            if slot[k] >= 0:
                atom[slot[k]] += pair
                atom_channel[slot[k]] = ch
            for lm in range(n_lm):
                for n in range(n_max):
                    px, py, pz = pair[0, lm, n], pair[1, lm, n], pair[2, lm, n]
                    strain[0, ch, lm, n] += x * px
                    strain[1, ch, lm, n] += y * py
                    strain[2, ch, lm, n] += z * pz
                    strain[3, ch, lm, n] += 0.5 * (y * pz + z * py)
                    strain[4, ch, lm, n] += 0.5 * (x * pz + z * px)
                    strain[5, ch, lm, n] += 0.5 * (x * py + y * px)
        start = row_first[i]
        J[start : row_first[i + 1]] = 0.0
        for s in range(n_slots[i]):
            for a in range(3):
                _push(c[i], atom[s, a], atom_channel[s], blocks, prefactor, full, J[start + 3 * s + a])
                if total >= 0:
                    _push(c[i], atom[s, a], total, blocks, prefactor, full, J[start + 3 * s + a])
        start += 3 * n_slots[i]
        for v in range(6):
            for ch in range(n_channels):
                if ch == total:
                    continue
                _push(c[i], strain[v, ch], ch, blocks, prefactor, full, J[start + v])
                if total >= 0:
                    _push(c[i], strain[v, ch], total, blocks, prefactor, full, J[start + v])
