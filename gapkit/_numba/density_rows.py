"""Training rows through the density: ∂c sorted by channel, and their products with the sparse points.

Letters as in `gapkit._numba.tangents`. Group b n_centres + i holds what moves channel b of centre i, ∂c with shape
(lm, n) in that channel only: the nine rows of the frame, then three for every neighbour atom.

    first  (n_groups + 1,) int64   entries of a group are first[group]:first[group + 1]
    dc     (n_entries, lm n_max)   n fastest, without padding
    row    (n_entries,) int64      the row of `Tangents` that an entry is a part of
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.tangents import density_tangents


@inlined
def _copy(source, at, n_pad, n_max, target):
    """The coefficients at source[at:] without their padding."""
    for lm in range(target.shape[0] // n_max):
        for n in range(n_max):
            target[lm * n_max + n] = source[at + lm * n_pad + n]


@inlined
def _place(i, n_centres, n_slots, atoms, atom_channel, frame, size, n_pad, n_max, first, row_first, dc, row):
    """Copy ∂c of one centre to its groups."""
    n_channels = (len(first) - 1) // n_centres
    at = np.empty(n_channels, dtype=np.int64)
    for b in range(n_channels):
        at[b] = first[b * n_centres + i]
        for v in range(9):
            _copy(frame, (v * n_channels + b) * size, n_pad, n_max, dc[at[b]])
            row[at[b]] = row_first[i + 1] - 9 + v
            at[b] += 1
    for s in range(3 * n_slots):
        b = atom_channel[s // 3]
        _copy(atoms, s * size, n_pad, n_max, dc[at[b]])
        row[at[b]] = row_first[i] + s
        at[b] += 1


@njit
def channel_tangents(
    pairs, channel, weight, D, slot, n_slots, inverse_step, table, norm, n_pad, n_max, first, row_first, dc, row
):
    """Fill dc and row; pairs of centre i are pairs[i]:pairs[i + 1]."""
    n_centres, size = len(n_slots), norm.shape[0] ** 2 * n_pad
    most = n_slots.max() if n_centres else 0
    atoms, atom_channel = np.empty(most * 3 * size), np.empty(most, dtype=np.int64)
    frame = np.empty(9 * ((len(first) - 1) // n_centres) * size)
    for i in range(n_centres):
        density_tangents(
            pairs[i], pairs[i + 1], channel, weight, D, slot, inverse_step, table, norm, n_pad, atoms, atom_channel,
            frame,
        )  # fmt: skip
        _place(i, n_centres, n_slots[i], atoms, atom_channel, frame, size, n_pad, n_max, first, row_first, dc, row)


@njit
def add_products(products, overlap, centre, row, S, norm, start, T):
    """T_rm += (∂c·B_m - s_im ∂c·B_q) / |p_i| for the sparse points from `start` on."""
    for e in range(products.shape[0]):
        i, r = centre[e], row[e]
        inverse = 1.0 / norm[i]
        for m in range(products.shape[1]):
            T[r, start + m] += (products[e, m] - S[i, start + m] * overlap[e]) * inverse
