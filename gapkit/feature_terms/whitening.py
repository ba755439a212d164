"""From a Gaussian process on sparse points to independent features: K = L Lᵀ, φ = L⁻¹ k, so that φ·φ' = kᵀ K⁻¹ k'."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag, solve_triangular
from scipy.linalg.lapack import dpstrf

from gapkit.errors import InputError

PIVOT = 1e-11  # of the largest variance: sparse points that others explain up to this are left out


def independent(K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that are not spanned by the others, and W with φ = k W of unit covariance.

    Parameters
    ----------
    K : ndarray, shape (n, n)
        Prior covariance of the points.

    Returns
    -------
    which : ndarray of int, shape (rank,)
        In the order of a pivoted Cholesky factorisation.
    W : ndarray, shape (rank, rank)
        L⁻ᵀ of these points, upper triangular.
    """
    factor, pivots, rank, _ = dpstrf(np.asfortranarray(K), tol=PIVOT * float(np.diag(K).max()), lower=True)
    L = np.tril(factor[:rank, :rank])
    return pivots[:rank] - 1, solve_triangular(L, np.eye(rank), lower=True, trans="T", check_finite=False)


def stack(points: list[np.ndarray], W: list[np.ndarray]) -> np.ndarray:
    """One array [points | W] of all groups of points, W block-diagonal: shape (n, n_coordinates + n)."""
    if not points:
        raise InputError("no pair or triplet of atoms is within the cutoff in any frame: raise the cutoff.")
    return np.hstack([np.concatenate(points), block_diag(*W)])


def split(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, n_coordinates) and W (n, n) of `stack`."""
    n_coordinates = X.shape[1] - X.shape[0]
    return X[:, :n_coordinates], X[:, n_coordinates:]
