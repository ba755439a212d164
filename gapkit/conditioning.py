"""How well determined the sparse points are, and what it took to factorise their covariance. Imports no atoms."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky
from scipy.linalg.lapack import dpstrf

from gapkit.errors import InputError


class Conditioning(NamedTuple):
    """How well determined the sparse points are.

    Attributes
    ----------
    rank : int
        Numerical rank of K_mm (pivots above 1e-12 of the largest).
    n_sparse : int
    smallest_pivot : float
        Smallest pivot of the pivoted Cholesky factorisation, relative to the largest.
    redundant : tuple of int
        Sparse points that the others already span.
    jitter : float
        What was added to the diagonal of K_mm, relative to each of its elements.
    """

    rank: int
    n_sparse: int
    smallest_pivot: float
    redundant: tuple[int, ...]
    jitter: float


def factorise(K_mm: np.ndarray, jitter: float) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K_mm + jitter, and the jitter that it took.

    The jitter of each point is relative to its own variance: then L of D K_mm D is D L, whatever the amplitudes D.
    """
    variances = np.diag(np.diag(K_mm))
    wanted = jitter
    while jitter <= 1e-4:
        try:
            L = cholesky(K_mm + jitter * variances, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            jitter = max(10.0 * jitter, 1e-14)
            continue
        if jitter > wanted:
            warnings.warn(
                f"the sparse points are nearly dependent: jitter was raised from {wanted:g} to {jitter:g}; "
                "fewer sparse points would do.", stacklevel=3,
            )  # fmt: skip
        return L, jitter
    raise InputError(
        "the sparse points' covariance cannot be factorised even with jitter 1e-4: use fewer sparse points."
    )


def conditioning(K_mm: np.ndarray, jitter: float) -> Conditioning:
    """Rank, smallest pivot and redundant points of K_mm by pivoted Cholesky factorisation."""
    factor, pivots, rank, _ = dpstrf(np.asfortranarray(K_mm), tol=1e-12 * float(np.diag(K_mm).max()), lower=True)
    diagonal = np.diag(factor)[:rank] ** 2
    redundant = tuple(sorted(int(p) - 1 for p in pivots[rank:]))
    return Conditioning(int(rank), len(K_mm), float(diagonal[-1] / diagonal[0]), redundant, jitter)
