"""Equivariant power spectra and their pull-back: two densities coupled to a tensor of order λ.

Letters as in `gapkit._numba.soap`; all arrays behind vector operations are flat.

    blocks  (n_blocks, 7) int64   channels a, b; l, l'; pair (row of `first`); first feature; 1 for a triangle n ≤ n'
    factor  (n_features,)         what Σ_mm' C c^a_nlm c^b_n'l'm' is multiplied by
    first   (n_pairs, 2λ + 2)     coefficients of component μ of pair k are first[k, μ]:first[k, μ + 1]
    row, column, value            m + l, m' + l' and C of each coefficient
    p       (n_centres, 2λ + 1, n_features)

The density of b is coupled first, t_μm = Σ_m' C_μmm' c^b_l'm', so that each component costs as much as one l of the
scalar power spectrum.
"""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit
from gapkit._numba.simd import NARROW, axpy, load, narrow, store
from gapkit._numba.soap import add_product, outer


@inlined
def _add_coupled(source, at_source, target, at_target, value, n_pad):
    """target += value source, one row of n_pad numbers."""
    for lane in range(0, n_pad, NARROW):
        sum_ = axpy(value, load(source, at_source + lane, narrow()), load(target, at_target + lane, narrow()))
        store(target, at_target + lane, sum_)


@inlined
def _couple(c, at_b, low, high, row, column, value, size, n_pad, t):
    """t_m = Σ_m' C_mm' c^b_m'."""
    for x in range(size):
        t[x] = 0.0
    for e in range(low, high):
        _add_coupled(c, at_b + column[e] * n_pad, t, row[e] * n_pad, value[e], n_pad)


@njit
def equivariant_spectrum(c, n_max, blocks, factor, first, row, column, value, p):
    """p^μ_{ab l l' n n'} = factor Σ_mm' C_μmm' c^a_nlm c^b_n'l'm'."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_l = int(np.sqrt(n_lm))
    flat, full, t = c.reshape(-1), np.empty(n_max * n_pad), np.empty((2 * n_l - 1) * n_pad)
    for i in range(c.shape[0]):
        for block in range(blocks.shape[0]):
            a, b, l, k, pair = blocks[block, 0], blocks[block, 1], blocks[block, 2], blocks[block, 3], blocks[block, 4]
            at_a = ((i * n_channels + a) * n_lm + l * l) * n_pad
            at_b = ((i * n_channels + b) * n_lm + k * k) * n_pad
            for mu in range(p.shape[1]):
                q, size = blocks[block, 5], (2 * l + 1) * n_pad
                _couple(flat, at_b, first[pair, mu], first[pair, mu + 1], row, column, value, size, n_pad, t)
                outer(flat, at_a, t, 0, 0, 2 * l + 1, n_max, n_pad, full)
                for n in range(n_max):
                    for m in range(n if blocks[block, 6] else 0, n_max):
                        p[i, mu, q] = factor[q] * full[n * n_pad + m]
                        q += 1


@inlined
def _spread(p_bar, factor, q, n_max, n_pad, triangle, full, transposed):
    """The cotangent of one block and component as a matrix (n, n') and its transpose; nothing below a triangle."""
    for n in range(n_max):
        for m in range(n_max):
            value = 0.0
            if m >= n or not triangle:
                value = factor[q] * p_bar[q]
                q += 1
            full[n * n_pad + m] = value
            transposed[m * n_pad + n] = value


@njit
def equivariant_pullback(c, n_max, blocks, factor, first, row, column, value, p_bar, c_bar):
    """c̄ += ∂(p̄·p)/∂c."""
    n_channels, n_lm, n_pad = c.shape[1], c.shape[2], c.shape[3]
    n_l = int(np.sqrt(n_lm))
    flat, bar = c.reshape(-1), c_bar.reshape(-1)
    full, transposed = np.zeros(n_max * n_pad), np.zeros(n_max * n_pad)
    t, t_bar = np.empty((2 * n_l - 1) * n_pad), np.empty((2 * n_l - 1) * n_pad)
    for i in range(c.shape[0]):
        for block in range(blocks.shape[0]):
            a, b, l, k, pair = blocks[block, 0], blocks[block, 1], blocks[block, 2], blocks[block, 3], blocks[block, 4]
            at_a = ((i * n_channels + a) * n_lm + l * l) * n_pad
            at_b = ((i * n_channels + b) * n_lm + k * k) * n_pad
            for mu in range(p_bar.shape[1]):
                low, high, size = first[pair, mu], first[pair, mu + 1], (2 * l + 1) * n_pad
                _spread(p_bar[i, mu], factor, blocks[block, 5], n_max, n_pad, blocks[block, 6], full, transposed)
                _couple(flat, at_b, low, high, row, column, value, size, n_pad, t)
                add_product(transposed, t, 0, 0, 2 * l + 1, n_max, n_pad, bar, at_a)
                for x in range(size):
                    t_bar[x] = 0.0
                add_product(full, flat, at_a, 0, 2 * l + 1, n_max, n_pad, t_bar, 0)
                for e in range(low, high):
                    _add_coupled(t_bar, row[e] * n_pad, bar, at_b + column[e] * n_pad, value[e], n_pad)
