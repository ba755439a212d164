"""Coupling of two angular momenta in the basis of real harmonics: what turns products of densities into tensors.

Complex Clebsch–Gordan coefficients come from Racah's closed formula in whole numbers, rounded once (Racah, Phys. Rev.
62, 438 (1942), eq. 16; the phases are Condon and Shortley's). The real harmonics are those of `gapkit._numba.pairs`,
S_l of index l + m, m = -l … l, with S_1 = (y, z, x) √(3/4π)/r, S_{l,±|m|} being √2 (-1)^m Re, Im Y_l|m|.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import factorial, isqrt, sqrt

import numpy as np


def clebsch_gordan(l1: int, m1: int, l2: int, m2: int, l: int, m: int) -> float:
    """⟨l1 m1 l2 m2 | l m⟩, zero where the angular momenta do not couple."""
    if m1 + m2 != m or not abs(l1 - l2) <= l <= l1 + l2 or abs(m1) > l1 or abs(m2) > l2 or abs(m) > l:
        return 0.0
    f = factorial
    low, high = max(0, l2 - l - m1, l1 - l + m2), min(l1 + l2 - l, l1 - m1, l2 + m2)
    total = sum(
        Fraction(
            (-1) ** k,
            f(k) * f(l1 + l2 - l - k) * f(l1 - m1 - k) * f(l2 + m2 - k) * f(l - l2 + m1 + k) * f(l - l1 - m2 + k),
        )
        for k in range(low, high + 1)
    )
    triangle = Fraction((2 * l + 1) * f(l + l1 - l2) * f(l - l1 + l2) * f(l1 + l2 - l), f(l1 + l2 + l + 1))
    square = triangle * f(l + m) * f(l - m) * f(l1 - m1) * f(l1 + m1) * f(l2 - m2) * f(l2 + m2) * total**2
    return (1.0 if total > 0 else -1.0) * _root(square)


def _root(square: Fraction) -> float:
    """The square root, exact where it is rational."""
    n, d = isqrt(square.numerator), isqrt(square.denominator)
    exact = n * n == square.numerator and d * d == square.denominator
    return n / d if exact else sqrt(square)


def _real_basis(l: int) -> np.ndarray:
    """U with S_l = U Y_l, unitary, shape (2 l + 1, 2 l + 1)."""
    U = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    U[l, l] = 1.0
    for m in range(1, l + 1):
        sign = (-1.0) ** m
        U[l + m, [l + m, l - m]] = sign * sqrt(0.5), sqrt(0.5)
        U[l - m, [l + m, l - m]] = -1j * sign * sqrt(0.5), 1j * sqrt(0.5)
    return U


@lru_cache(maxsize=512)
def real_coupling(l1: int, l2: int, l: int) -> np.ndarray:
    """C with Σ_{m1 m2} C_{m m1 m2} u_m1 v_m2 of order l for u, v of orders l1, l2: shape (2l+1, 2 l1+1, 2 l2+1).

    Rows are orthonormal. For l1 + l2 + l odd the coefficients are imaginary; the phase i^(l1 + l2 - l) makes all real,
    and that of l = 0 positive: C_{0 m m'} = δ_mm'/√(2 l1 + 1).
    """
    C = np.zeros((2 * l + 1, 2 * l1 + 1, 2 * l2 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l:
                C[l + m1 + m2, l1 + m1, l2 + m2] = clebsch_gordan(l1, m1, l2, m2, l, m1 + m2)
    U = [_real_basis(n) for n in (l, l1, l2)]
    real = 1j ** (l1 + l2 - l) * np.einsum("aM,MPQ,bP,cQ->abc", U[0], C, U[1].conj(), U[2].conj())
    real = np.ascontiguousarray(real.real)
    real[np.abs(real) < 1e-15] = 0.0
    real.setflags(write=False)
    return real
