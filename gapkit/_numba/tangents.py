"""Derivatives of whole feature rows, for training: ∂p_i/∂(atom positions, strain), images of one atom summed first.

Letters as in `gapkit._numba.soap`. Rows of centre i, in this order: x, y, z of ∂p_i/∂r_j for every distinct neighbour
atom j ≠ i; x, y, z of ∂p_i/∂r_i, minus the sum of those; xx yy zz yz xz xy of ∂p_i/∂ε with symmetric strain ε.

    slot      (n_pairs,) int64        neighbour atom of its centre that a pair belongs to, -1 for an image of the centre
    n_slots   (n_centres,) int64      number of neighbour atoms
    row_first (n_centres + 1,) int64  rows of centre i are row_first[i]:row_first[i + 1], 3 n_slots + 9 of them
    total     int                     the channel that sums all species, or -1

∂c is computed first. A neighbour's row is ∂c in one channel, the nine rows of the frame have it in all.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.pairs import CHUNK, buffers, gather, harmonics, harmonics_gradient, hermite, hermite_slope
from gapkit._numba.simd import WIDE, axpy, load, narrow, store, wide
from gapkit._numba.soap import interpolate, outer


@inlined
def _tangent_lane(zero, lane, knots, at_knot, n_radial, n_pad, n_l, weights, slopes, V, S, G, k, dc):
    size = n_l * n_l * n_pad
    for l in range(n_l):
        at = at_knot + l * n_pad + lane
        rho = interpolate(knots, at, n_radial, weights[0], weights[1], zero)
        slope = interpolate(knots, at, n_radial, slopes[0], slopes[1], zero)  # ρ'/r
        for lm in range(l * l, (l + 1) * (l + 1)):
            for a in range(3):
                value = axpy(S[lm, k] * V[a, k], slope, axpy(G[a, lm, k], rho, zero))
                store(dc, a * size + lm * n_pad + lane, value)


@inlined
def _pair_tangent(knots, at_knot, n_radial, n_pad, n_l, weights, slopes, V, S, G, k, dc):
    """∂[w ρ_nl(r) S_lm(D)]/∂D of pair k in dc[3, lm, n], flat."""
    n_wide = n_pad // WIDE * WIDE
    for lane in range(0, n_wide, WIDE):
        _tangent_lane(wide(), lane, knots, at_knot, n_radial, n_pad, n_l, weights, slopes, V, S, G, k, dc)
    if n_wide < n_pad:
        _tangent_lane(narrow(), n_wide, knots, at_knot, n_radial, n_pad, n_l, weights, slopes, V, S, G, k, dc)


@inlined
def _add(x, source, at_source, target, at_target, size):
    """target += x source."""
    n_wide = size // WIDE * WIDE
    for q in range(0, n_wide, WIDE):
        value = load(target, at_target + q, wide())
        store(target, at_target + q, axpy(x, load(source, at_source + q, wide()), value))
    if n_wide < size:
        value = load(target, at_target + n_wide, narrow())
        store(target, at_target + n_wide, axpy(x, load(source, at_source + n_wide, narrow()), value))


@inlined
def _add_frame(V, k, dc, size, channel, channel_size, own, frame):
    """Add a pair to the nine rows of the frame: own position if `own`, strain always."""
    at = channel * size
    for a in range(3):
        if own:
            _add(-1.0, dc, a * size, frame, a * channel_size + at, size)
        _add(V[a, k], dc, a * size, frame, (3 + a) * channel_size + at, size)
        b, c = (a + 1) % 3, (a + 2) % 3  # yz, xz, xy
        _add(0.5 * V[b, k], dc, c * size, frame, (6 + a) * channel_size + at, size)
        _add(0.5 * V[c, k], dc, b * size, frame, (6 + a) * channel_size + at, size)


@inlined
def _push(c, at_c, dc, at_dc, channel, n_max, n_pad, n_l, blocks, factor, full, row):
    """row += factor Σ_m (∂c c + c ∂c): the tangent of the power spectrum when only `channel` moves."""
    size = n_l * n_l * n_pad
    for block in range(blocks.shape[0]):
        a, b, q = blocks[block, 0], blocks[block, 1], blocks[block, 2]
        if a != channel and b != channel:
            continue
        for l in range(n_l):
            low, high = l * l, (l + 1) * (l + 1)
            if a == channel:
                outer(dc, at_dc, c, at_c + b * size, low, high, n_max, n_pad, full)
            else:
                outer(c, at_c + a * size, dc, at_dc, low, high, n_max, n_pad, full)
            for n in range(n_max):
                for k in range(n if a == b else 0, n_max):
                    other = full[k * n_pad + n] if a == b else 0.0
                    row[q] += factor[q] * (full[n * n_pad + k] + other)
                    q += 1


@inlined
def _push_all(c, at_c, dc, at_dc, channel, total, n_max, n_pad, n_l, blocks, factor, full, row):
    """`_push` for a channel and, where there is one, the channel that sums all."""
    _push(c, at_c, dc, at_dc, channel, n_max, n_pad, n_l, blocks, factor, full, row)
    if total >= 0:
        _push(c, at_c, dc, at_dc, total, n_max, n_pad, n_l, blocks, factor, full, row)


@inlined
def density_tangents(low, high, channel, weight, D, slot, inverse_step, table, norm, n_pad, atoms, atom_channel, frame):
    """∂c of the centre with pairs low:high: atoms (n_slots, 3, lm, n), one channel each; frame (9, channels, lm, n)."""
    n_l, n_knots, n_radial = norm.shape[0], table.shape[0], table.shape[2]
    size = n_l * n_l * n_pad
    V, A, B, P, S, G = buffers(n_l - 1)
    knots, dc = table.reshape(-1), np.empty(3 * size)
    atoms[:] = 0.0
    frame[:] = 0.0
    for start in range(low, high, CHUNK):
        n = min(CHUNK, high - start)
        gather(D, start, n, V)
        harmonics(V, norm, A, B, P, S)
        harmonics_gradient(V, norm, A, B, P, G)
        for k in range(n):
            p = start + k
            r = np.sqrt(V[3, k])
            knot, left, right = hermite(r * inverse_step, n_knots, weight[p])
            slopes = hermite_slope(r * inverse_step, n_knots, weight[p] * inverse_step / r)
            _pair_tangent(knots, 3 * knot * n_radial, n_radial, n_pad, n_l, (left, right), slopes, V, S, G, k, dc)
            own = slot[p] >= 0
            if own:
                atom_channel[slot[p]] = channel[p]
                _add(1.0, dc, 0, atoms, 3 * slot[p] * size, 3 * size)
            _add_frame(V, k, dc, size, channel[p], frame.shape[0] // 9, own, frame)


@njit
def tangents(
    first, channel, weight, D, slot, n_slots, inverse_step, table, norm, c, n_max, total, blocks, factor, row_first, J
):
    """J[row, feature], rows as above."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_l, size, n_species = norm.shape[0], n_lm * n_pad, n_channels - (total >= 0)
    most = n_slots.max() if len(n_slots) else 0
    atoms, atom_channel = np.empty(most * 3 * size), np.empty(most, dtype=np.int64)
    frame, full, flat = np.empty(9 * n_species * size), np.empty(n_max * n_pad), c.reshape(-1)
    J[:] = 0.0
    for i in range(c.shape[0]):
        density_tangents(
            first[i], first[i + 1], channel, weight, D, slot, inverse_step, table, norm, n_pad, atoms, atom_channel,
            frame,
        )  # fmt: skip
        at_c, row = i * n_channels * size, row_first[i]
        for s in range(3 * n_slots[i]):
            moved = atom_channel[s // 3]
            _push_all(flat, at_c, atoms, s * size, moved, total, n_max, n_pad, n_l, blocks, factor, full, J[row + s])
        row += 3 * n_slots[i]
        for v in range(9):
            for ch in range(n_species):
                at = (v * n_species + ch) * size
                _push_all(flat, at_c, frame, at, ch, total, n_max, n_pad, n_l, blocks, factor, full, J[row + v])
