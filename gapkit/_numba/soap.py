"""Density expansion, power spectrum and their pull-backs (theory: c, p, x̄ → c̄ → g).

Arrays, all C-contiguous float64 unless stated; n_pad is n_max rounded up to whole vectors, the padding being zero:

    first    (n_centres + 1,) int64   pairs of centre i are first[i]:first[i + 1], first[0] = 0
    channel  (n_pairs,) int64         density channel of the neighbour (its species, or 0 when species are merged)
    weight   (n_pairs,)               weight of the neighbour's density
    D        (n_pairs, 3)             r_j - r_i, Å
    table    (n_knots, 3, (l_max + 1) n_pad)                radial functions, see `gapkit._numba.pairs`
    c        (n_centres, n_channels, (l_max + 1)², n_pad)   density coefficients, n fastest
    blocks   (n_blocks, 3) int64      channels a, b and the first feature of each block; a = b: upper triangle n ≤ n'
    factor   (n_features,)            what Σ_m c^a_nlm c^b_n'lm is multiplied by: prefactor_l and, off a diagonal, √2

Arrays behind vector operations are used flat, as slices of them cost more than the arithmetic.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.pairs import CHUNK, buffers, factors, gather, harmonics, harmonics_gradient, hermite, hermite_slope
from gapkit._numba.simd import WIDE, axpy, axpy_at, load, multiply_add, narrow, store, total, wide


@njit
def prepare(centres, j, numbers, channel_of, weight_of, own, channel, weight, c):
    """channel and weight of every pair, from tables by atomic number; c with the centres' own contributions alone.

    own (n_pad,): ρ_n0(0) Y_00 of a centre with weight 1.
    """
    for p in range(len(j)):
        channel[p] = channel_of[numbers[j[p]]]
        weight[p] = weight_of[numbers[j[p]]]
    c[:] = 0.0
    for i in range(len(centres)):
        z = numbers[centres[i]]
        for n in range(len(own)):
            c[i, channel_of[z], 0, n] = weight_of[z] * own[n]


@inlined
def interpolate(knots, at, n_radial, left, right, zero):
    """Σ of six table rows, weighted: as many radial functions as `zero` is wide, from position `at` of the lower ρ."""
    value = axpy(left[0], load(knots, at, zero), zero)
    value = axpy(left[1], load(knots, at + n_radial, zero), value)
    value = axpy(left[2], load(knots, at + 2 * n_radial, zero), value)
    value = axpy(right[0], load(knots, at + 3 * n_radial, zero), value)
    value = axpy(right[1], load(knots, at + 4 * n_radial, zero), value)
    return axpy(right[2], load(knots, at + 5 * n_radial, zero), value)


@inlined
def _expand_lane(zero, lane, flat, target, n_pad, n_l, knots, at_knot, n_radial, left, right, S, k):
    for l in range(n_l):
        rho = interpolate(knots, at_knot + l * n_pad + lane, n_radial, left, right, zero)
        for lm in range(l * l, (l + 1) * (l + 1)):
            at = target + lm * n_pad + lane
            store(flat, at, axpy_at(S, lm * CHUNK + k, rho, load(flat, at, zero)))


@njit
def expand(first, channel, weight, D, inverse_step, table, norm, c):
    """Add every pair's ρ_nl(r) S_lm(D) to c, which holds the centre's own contribution already."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_knots, n_radial, n_pairs, n_l = table.shape[0], table.shape[2], first[-1], norm.shape[0]
    V, A, B, P, S, _ = buffers(n_l - 1)
    flat, knots, S_flat = c.reshape(-1), table.reshape(-1), S.reshape(-1)
    n_wide = n_pad // WIDE * WIDE
    i = 0
    for start in range(0, n_pairs, CHUNK):
        n = min(CHUNK, n_pairs - start)
        gather(D, start, n, V)
        harmonics(V, norm, A, B, P, S)
        for k in range(n):
            p = start + k
            while p >= first[i + 1]:
                i += 1
            knot, left, right = hermite(np.sqrt(V[3, k]) * inverse_step, n_knots, weight[p])
            to, at = (i * n_channels + channel[p]) * n_lm * n_pad, 3 * knot * n_radial
            for lane in range(0, n_wide, WIDE):
                _expand_lane(wide(), lane, flat, to, n_pad, n_l, knots, at, n_radial, left, right, S_flat, k)
            if n_wide < n_pad:
                _expand_lane(narrow(), n_wide, flat, to, n_pad, n_l, knots, at, n_radial, left, right, S_flat, k)


@inlined
def _outer_lane(zero, lane, u, at_u, v, at_v, low, high, n_max, n_pad, full):
    for n in range(n_max):
        value = zero
        for lm in range(low, high):
            value = axpy_at(u, at_u + lm * n_pad + n, load(v, at_v + lm * n_pad + lane, zero), value)
        store(full, n * n_pad + lane, value)


@inlined
def outer(u, at_u, v, at_v, low, high, n_max, n_pad, full):
    """full[n, n'] = Σ_lm u[at_u + lm, n] v[at_v + lm, n'] for low ≤ lm < high."""
    n_wide = n_pad // WIDE * WIDE
    for lane in range(0, n_wide, WIDE):
        _outer_lane(wide(), lane, u, at_u, v, at_v, low, high, n_max, n_pad, full)
    if n_wide < n_pad:
        _outer_lane(narrow(), n_wide, u, at_u, v, at_v, low, high, n_max, n_pad, full)


@njit
def power_spectrum(c, n_max, blocks, factor, p):
    """p^{ab}_{l n n'} = factor Σ_m c^a_nlm c^b_n'lm."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_l = int(np.sqrt(n_lm))
    flat, full = c.reshape(-1), np.empty(n_max * n_pad)
    for i in range(c.shape[0]):
        for block in range(blocks.shape[0]):
            a, b, q = blocks[block, 0], blocks[block, 1], blocks[block, 2]
            at_a, at_b = (i * n_channels + a) * n_lm * n_pad, (i * n_channels + b) * n_lm * n_pad
            for l in range(n_l):
                outer(flat, at_a, flat, at_b, l * l, (l + 1) * (l + 1), n_max, n_pad, full)
                for n in range(n_max):
                    for k in range(n if a == b else 0, n_max):
                        p[i, q] = factor[q] * full[n * n_pad + k]
                        q += 1


@inlined
def _spread(p_bar, factor, q, n_max, n_pad, triangle, full, transposed):
    """The cotangent of one (l, n, n') block as a full matrix and its transpose; a triangle becomes G + Gᵀ."""
    for n in range(n_max):
        for k in range(n if triangle else 0, n_max):
            value = factor[q] * p_bar[q]
            full[n * n_pad + k] = value
            transposed[k * n_pad + n] = value
            q += 1
    if triangle:
        for n in range(n_max):
            full[n * n_pad + n] *= 2.0
            for k in range(n):
                full[n * n_pad + k] = full[k * n_pad + n]


@inlined
def _add_product_lane(zero, lane, full, u, at_u, low, high, n_max, n_pad, bar, at_bar):
    for lm in range(low, high):
        value = load(bar, at_bar + lm * n_pad + lane, zero)
        for n in range(n_max):
            value = axpy_at(u, at_u + lm * n_pad + n, load(full, n * n_pad + lane, zero), value)
        store(bar, at_bar + lm * n_pad + lane, value)


@inlined
def add_product(full, u, at_u, low, high, n_max, n_pad, bar, at_bar):
    """bar[lm, :] += Σ_n u[lm, n] full[n, :]."""
    n_wide = n_pad // WIDE * WIDE
    for lane in range(0, n_wide, WIDE):
        _add_product_lane(wide(), lane, full, u, at_u, low, high, n_max, n_pad, bar, at_bar)
    if n_wide < n_pad:
        _add_product_lane(narrow(), n_wide, full, u, at_u, low, high, n_max, n_pad, bar, at_bar)


@njit
def power_spectrum_pullback(c, n_max, blocks, factor, p_bar, c_bar):
    """c̄ = ∂(p̄·p)/∂c."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_l = int(np.sqrt(n_lm))
    flat, bar = c.reshape(-1), c_bar.reshape(-1)
    bar[:] = 0.0
    full, transposed = np.zeros(n_max * n_pad), np.zeros(n_max * n_pad)
    for i in range(c.shape[0]):
        for block in range(blocks.shape[0]):
            a, b, q = blocks[block, 0], blocks[block, 1], blocks[block, 2]
            at_a, at_b = (i * n_channels + a) * n_lm * n_pad, (i * n_channels + b) * n_lm * n_pad
            size = n_max * (n_max + 1) // 2 if a == b else n_max * n_max
            for l in range(n_l):
                low, high = l * l, (l + 1) * (l + 1)
                _spread(p_bar[i], factor, q + l * size, n_max, n_pad, a == b, full, transposed)
                if a == b:
                    add_product(full, flat, at_a, low, high, n_max, n_pad, bar, at_a)
                else:
                    add_product(transposed, flat, at_b, low, high, n_max, n_pad, bar, at_a)
                    add_product(full, flat, at_a, low, high, n_max, n_pad, bar, at_b)


@inlined
def _gradient_lane(zero, lane, bar, at_bar, n_pad, n_l, knots, at_knot, n_radial, weights, slopes, S_00, V, G, k):
    """Σ c̄ ρ' S along r and Σ c̄ ρ ∇S, contracted over lm before n so that only the last sums cross lanes.

    S itself is not needed: it is homogeneous of degree l, so that l S = D·∇S.
    """
    n_harmonics = n_l * n_l * CHUNK
    vs = axpy(S_00, load(bar, at_bar + lane, zero), zero)
    along = multiply_add(vs, interpolate(knots, at_knot + lane, n_radial, slopes[0], slopes[1], zero), zero)
    gx, gy, gz = zero, zero, zero
    for l in range(1, n_l):
        vx, vy, vz = zero, zero, zero
        for lm in range(l * l, (l + 1) * (l + 1)):
            row, at = load(bar, at_bar + lm * n_pad + lane, zero), lm * CHUNK + k
            vx = axpy_at(G, at, row, vx)
            vy = axpy_at(G, at + n_harmonics, row, vy)
            vz = axpy_at(G, at + 2 * n_harmonics, row, vz)
        at = at_knot + l * n_pad + lane
        rho = interpolate(knots, at, n_radial, weights[0], weights[1], zero)
        vs = axpy(V[0, k] / l, vx, axpy(V[1, k] / l, vy, axpy(V[2, k] / l, vz, zero)))
        along = multiply_add(vs, interpolate(knots, at, n_radial, slopes[0], slopes[1], zero), along)
        gx = multiply_add(vx, rho, gx)
        gy = multiply_add(vy, rho, gy)
        gz = multiply_add(vz, rho, gz)
    return total(along), total(gx), total(gy), total(gz)


@njit
def pair_gradients(first, channel, weight, D, inverse_step, table, norm, c_bar, g):
    """g_ij = Σ_nlm c̄_nlm ∂[ρ_nl(r) S_lm(D)]/∂D_ij."""
    n_channels, n_lm, n_pad = c_bar.shape[1], c_bar.shape[2], c_bar.shape[3]
    n_knots, n_radial, n_pairs, n_l = table.shape[0], table.shape[2], first[-1], norm.shape[0]
    V, A, B, P, _, G = buffers(n_l - 1)
    bar, knots, G_flat, n_wide = c_bar.reshape(-1), table.reshape(-1), G.reshape(-1), n_pad // WIDE * WIDE
    i = 0
    for start in range(0, n_pairs, CHUNK):
        n = min(CHUNK, n_pairs - start)
        gather(D, start, n, V)
        factors(V, A, B, P)
        harmonics_gradient(V, norm, A, B, P, G)
        for k in range(n):
            p = start + k
            while p >= first[i + 1]:
                i += 1
            r = np.sqrt(V[3, k])
            knot, left, right = hermite(r * inverse_step, n_knots, weight[p])
            weights, slopes = (left, right), hermite_slope(r * inverse_step, n_knots, weight[p] * inverse_step / r)
            at_bar, at = (i * n_channels + channel[p]) * n_lm * n_pad, 3 * knot * n_radial
            along, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
            for lane in range(0, n_wide, WIDE):
                a, x, y, z = _gradient_lane(
                    wide(), lane, bar, at_bar, n_pad, n_l, knots, at, n_radial, weights, slopes, norm[0, 0], V,
                    G_flat, k,
                )  # fmt: skip
                along, gx, gy, gz = along + a, gx + x, gy + y, gz + z
            if n_wide < n_pad:
                a, x, y, z = _gradient_lane(
                    narrow(), n_wide, bar, at_bar, n_pad, n_l, knots, at, n_radial, weights, slopes, norm[0, 0], V,
                    G_flat, k,
                )  # fmt: skip
                along, gx, gy, gz = along + a, gx + x, gy + y, gz + z
            g[p, 0] = gx + along * V[0, k]
            g[p, 1] = gy + along * V[1, k]
            g[p, 2] = gz + along * V[2, k]
