"""Variances of many local energies at the price of one matrix product: what the data have taught, as one small factor.

A local energy with covariances k to the sparse points and prior variance k_ii has the "dtc" variance

    k_ii - kᵀ (K_mm⁻¹ - A⁻¹) k = k_ii - |C k|²,      K_mm = L Lᵀ,  A = Rᵀ R

    N = I - (Lᵀ R⁻¹) (Lᵀ R⁻¹)ᵀ = F Fᵀ,   C = Fᵀ L⁻¹

N has eigenvalues between 0 (the data say nothing about a direction) and 1. Its pivoted Cholesky factorisation ends when
nothing above a tolerance is left; as |L⁻¹ k|² ≤ k_ii, the trace of what is left bounds the error relative to k_ii. C is
then made triangular by QR, which saves half of the product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.linalg.lapack import dpstrf

PANEL = 128  # rows of C taken together: narrow enough to skip the zeros below the diagonal, wide enough for BLAS


class VarianceFactor(NamedTuple):
    """The factor C of some columns (sparse points), and the error of what it leaves out.

    Attributes
    ----------
    C : ndarray, shape (rank, n_columns)
        Upper trapezoidal.
    error : float
        Bound of the truncation error of a variance, relative to the prior variance.
    """

    C: np.ndarray
    error: float

    def variance(self, K: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Variances (n,), not clipped, from rows K (n, n_columns) and prior variances (n,)."""
        explained = np.zeros(len(K))
        for low in range(0, len(self.C), PANEL):
            V = K[:, low:] @ self.C[low : low + PANEL, low:].T
            explained += np.einsum("nr,nr->n", V, V)
        return prior - explained


def variance_factor(
    L: np.ndarray, R: np.ndarray, columns: np.ndarray, tolerance: float | None = None
) -> VarianceFactor:
    """Factor for functionals that touch only `columns`.

    Parameters
    ----------
    L, R : ndarray, shape (n_sparse, n_sparse)
        Lower triangular, L Lᵀ = K_mm; upper triangular, Rᵀ R = A.
    columns : ndarray of int, shape (n_columns,)
        Sparse points; K_mm must not couple them to the others.
    tolerance : float, optional
        Largest diagonal element of N that is left out; round-off of N, 8 · 2.2e-16 · n_columns, if not given.
    """
    tolerance = 8 * np.finfo(float).eps * len(columns) if tolerance is None else tolerance
    L_own = np.ascontiguousarray(L[np.ix_(columns, columns)])
    rows = np.zeros((len(L), len(columns)))
    rows[columns] = L_own
    E = solve_triangular(R, rows, trans="T", check_finite=False)  # R⁻ᵀ L, so that E Eᵀ of the text is Eᵀ E here
    N = np.eye(len(columns)) - E.T @ E
    F, pivots, rank, _ = dpstrf(np.asfortranarray(N), tol=tolerance, lower=True)
    F = np.tril(F)[np.argsort(pivots), :rank]
    left = float(np.maximum(np.diag(N) - np.einsum("mr,mr->m", F, F), 0.0).sum())
    C = solve_triangular(L_own, F, lower=True, trans="T", check_finite=False).T
    return VarianceFactor(np.ascontiguousarray(qr(C, mode="r", check_finite=False)[0][:rank]), left)
