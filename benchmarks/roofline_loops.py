"""Loops of the roofline's own: parts of the engine's fused loops by themselves, and the machine's rates."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from gapkit._numba.pairs import CHUNK, buffers, gather, harmonics, hermite
from gapkit._numba.simd import WIDE, narrow, store, wide
from gapkit._numba.soap import interpolate


@numba.njit(fastmath=True)
def all_radial(D, inverse_step, table):
    """Radial functions of all pairs, without derivatives."""
    n_knots, n_radial, knots = table.shape[0], table.shape[2], table.reshape(-1)
    rho = np.empty(n_radial)
    for p in range(D.shape[0]):
        r = np.sqrt(D[p, 0] ** 2 + D[p, 1] ** 2 + D[p, 2] ** 2)
        knot, left, right = hermite(r * inverse_step, n_knots, 1.0)
        low, n_wide = 3 * knot * n_radial, n_radial // WIDE * WIDE
        for at in range(0, n_wide, WIDE):
            store(rho, at, interpolate(knots, low + at, n_radial, left, right, wide()))
        if n_wide < n_radial:
            store(rho, n_wide, interpolate(knots, low + n_wide, n_radial, left, right, narrow()))
    return rho[0]


@numba.njit(fastmath=True)
def all_harmonics(D, norm):
    """Solid harmonics of all pairs, without gradients."""
    V, A, B, P, S, _ = buffers(norm.shape[0] - 1)
    for start in range(0, D.shape[0], CHUNK):
        gather(D, start, min(CHUNK, D.shape[0] - start), V)
        harmonics(V, norm, A, B, P, S)
    return S[0, 0]


@numba.njit(fastmath=True)
def _polynomial(x, y, a, b):
    """Horner's rule with 32 fused multiply-adds per element: nothing but arithmetic."""
    for i in range(x.shape[0]):
        value, point = b, x[i]
        for _ in range(32):
            value = value * point + a
        y[i] = value


@numba.njit(fastmath=True)
def _triad(a, b, c, s):
    for i in range(a.shape[0]):
        a[i] = b[i] + s * c[i]


def multiply_adds(best: Callable[..., float]) -> float:
    """Flop/s of fused multiply-adds in registers, in the vectors that Numba chooses."""
    x, y = np.full(2048, 0.5), np.empty(2048)
    return 50 * 2.0 * 32 * len(x) / best(lambda: [_polynomial(x, y, 0.3, 0.1) for _ in range(50)])


def stream(n: int, best: Callable[..., float]) -> float:
    """Byte/s of a = b + s c with `n` elements each."""
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    inner = max(1, 4_000_000 // n)
    return inner * 24.0 * n / best(lambda: [_triad(a, b, c, 0.5) for _ in range(inner)])
