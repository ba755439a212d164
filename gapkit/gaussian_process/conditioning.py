"""Conditioning of the sparse points' covariance: factorisation with jitter, rank, redundant points.

A sparse point that the others span is kept: with a little jitter on the diagonal it shares its weight with them, and
the potential is the same as without it. Leaving it out instead would only save memory, and renumber columns. A point
without any variance (zero features under a dot product) gets the variance 1 in L: no label depends on it, and its
weight is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.lapack import dpstrf

from gapkit.errors import InputError, warn

LARGEST_JITTER = 1e-4
_SMALLEST_JITTER = 1e-14  # the first that is tried after none
_RANK_TOLERANCE = 1e-12  # a pivot below is round-off
_SHOWN = 8  # redundant points that are named


class Conditioning(NamedTuple):
    """How well determined the sparse points are.

    Pivots are those of the pivoted Cholesky factorisation of the correlation matrix of the points, K_ij / √(K_ii K_jj):
    the share of a point's prior variance that all points before it leave open, 1 for the first.

    Attributes
    ----------
    rank : int
        Numerical rank of K_mm: pivots above 1e-12.
    n_sparse : int
    smallest_pivot : float
        The smallest of these pivots; 0 if there is none.
    redundant : tuple of int
        Sparse points that the others already span, or that have no variance at all.
    jitter : float
        What was added to the diagonal of K_mm, relative to each of its elements.
    requested_jitter : float or None
        The requested jitter; None if it is not known.
    spectrum : mapping of str to int, or None
        Number of pivots of each decade, from "1e+00" down; "0" for those of the redundant points.
    """

    rank: int
    n_sparse: int
    smallest_pivot: float
    redundant: tuple[int, ...]
    jitter: float
    requested_jitter: float | None = None
    spectrum: Mapping[str, int] | None = None

    @property
    def raises(self) -> tuple[float, ...]:
        """Jitters that were tried after the requested one, the last of which was enough."""
        if self.requested_jitter is None:
            return ()
        tried = [self.requested_jitter]
        while tried[-1] < self.jitter:
            tried.append(_next(tried[-1]))
        return tuple(tried[1:])


def factorise(K_mm: np.ndarray, jitter: float) -> tuple[np.ndarray, float]:
    """Lower Cholesky factor of K_mm + jitter, and the jitter that was needed.

    The jitter of each point is relative to its own variance: then L of D K_mm D is D L, whatever the amplitudes D. It
    is raised tenfold, with a warning, until every pivot is more than round-off.

    Raises
    ------
    InputError
        If K_mm is not finite or cannot be factorised even with the jitter 1e-4.
    """
    if not np.isfinite(K_mm).all():
        raise InputError("the sparse points' covariance is not finite: check the amplitudes and kernels of the terms.")
    wanted = jitter
    variances = np.diag(K_mm)
    while jitter <= LARGEST_JITTER:
        L = _cholesky(K_mm, np.where(variances > 0.0, jitter * variances, 1.0))
        if L is None:
            jitter = _next(jitter)
            continue
        if jitter > wanted:
            warn(
                f"the sparse points are nearly dependent: jitter was raised from {wanted:g} to {jitter:g}; "
                "fewer sparse points would do."
            )  # fmt: skip
        return L, jitter
    raise InputError(
        "the sparse points' covariance cannot be factorised even with jitter 1e-4: use fewer sparse points."
    )


def _next(jitter: float) -> float:
    return max(10.0 * jitter, _SMALLEST_JITTER)


def _cholesky(K: np.ndarray, added: np.ndarray) -> np.ndarray | None:
    """Lower factor of K + diag(added); None if a pivot is no more than round-off."""
    A = np.array(K, order="F")
    diagonal = np.einsum("ii->i", A)
    diagonal += added
    least = np.finfo(float).eps * len(A) * diagonal
    try:
        L = cholesky(A, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    return L if np.all(np.diag(L) ** 2 > least) else None


def conditioning(K_mm: np.ndarray, jitter: float, requested: float | None = None) -> Conditioning:
    """Rank, smallest pivot, spectrum and redundant points of K_mm by pivoted Cholesky factorisation.

    Parameters
    ----------
    K_mm : ndarray, shape (n_sparse, n_sparse)
    jitter : float
        The jitter that `factorise` needed.
    requested : float, optional
        The jitter that was requested.
    """
    std = np.sqrt(np.maximum(np.diag(K_mm), 0.0))
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0.0)
    n = int(np.count_nonzero(scale))
    if n == 0:
        return Conditioning(0, len(K_mm), 0.0, tuple(range(len(K_mm))), jitter, requested, {"0": len(K_mm)})
    correlation = np.asfortranarray(scale[:, None] * K_mm * scale)
    factor, order, rank, _ = dpstrf(correlation, tol=_RANK_TOLERANCE, lower=True, overwrite_a=True)
    pivots = np.diag(factor)[:rank] ** 2
    redundant = tuple(sorted(int(p) - 1 for p in order[rank:]))
    return Conditioning(
        int(rank), len(K_mm), float(pivots[-1]), redundant, jitter, requested, _spectrum(pivots, len(redundant))
    )


def _spectrum(pivots: np.ndarray, n_redundant: int) -> dict[str, int]:
    decades, counts = np.unique(np.floor(np.log10(pivots) + 1e-9).astype(int), return_counts=True)
    found = {f"1e{decade:+03d}": int(count) for decade, count in zip(decades[::-1], counts[::-1])}
    return found | ({"0": n_redundant} if n_redundant else {})


def determined(L: np.ndarray, R: np.ndarray) -> np.ndarray:
    """How far the data determine each sparse point, from 0 (the prior alone) to 1; the sum is γ.

    γ = M - tr(A⁻¹ K_mm), with A = Rᵀ R and K_mm = L Lᵀ, is the effective number of parameters (MacKay, Neural Comput.
    4, 415 (1992), eq. 4.8); a point's share is 1 - Σ_k (R⁻ᵀ L)_km². Shares of a block of K_mm add up to what the block
    determines; single ones are shares of the columns of L, whitened by the points before. O(n_sparse³).

    Parameters
    ----------
    L, R : ndarray, shape (n_sparse, n_sparse)
        Of a `SparsePosterior`.

    Returns
    -------
    ndarray, shape (n_sparse,)
    """
    open_ = solve_triangular(R, L, trans="T", check_finite=False)
    return np.clip(1.0 - np.einsum("km,km->m", open_, open_), 0.0, 1.0)


def explain(found: Conditioning, columns: Mapping[str, slice], shares: np.ndarray | None = None) -> list[str]:
    """Sentences on how well determined the sparse points are.

    Parameters
    ----------
    found : Conditioning
    columns : mapping of str to slice
        Columns of each block, by a name such as "term 1, Si".
    shares : ndarray, shape (n_sparse,), optional
        From `determined`.
    """
    sentences = [_rank_sentence(found)]
    for name, block in columns.items():
        sentences += _redundant_sentence(name, block, found.redundant)
    sentences.append(_jitter_sentence(found))
    if found.spectrum:
        counted = ", ".join(f"{count} of {decade}" for decade, count in found.spectrum.items())
        sentences.append(f"Pivots (share of a point's variance that those before it leave open): {counted}.")
    if shares is not None:
        text = ", ".join(f"{shares[block].sum():.1f} of {_length(block)} in {name}" for name, block in columns.items())
        sentences.append(f"The data determine {shares.sum():.1f} of {found.n_sparse} parameters: {text}.")
    return sentences


def _length(block: slice) -> int:
    return int(block.stop - block.start)


def _rank_sentence(found: Conditioning) -> str:
    if not found.redundant:
        return (
            f"All {found.n_sparse} sparse points are independent: each adds at least {found.smallest_pivot:.1g} "
            "of its variance to the others."
        )
    return f"Of {found.n_sparse} sparse points {found.rank} are independent."


def _redundant_sentence(name: str, block: slice, redundant: tuple[int, ...]) -> list[str]:
    """None or one sentence; points are counted from 0 within their block."""
    own = [point - block.start for point in redundant if block.start <= point < block.stop]
    if not own:
        return []
    named = ", ".join(map(str, own[:_SHOWN])) + (f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else "")
    enough = _length(block) - len(own)
    add = "adds" if len(own) == 1 else "add"
    return [
        f"{name}: {len(own)} of {_length(block)} sparse points {add} nothing to the others (number {named}): "
        f"n_sparse = {enough} would do."
    ]


def _jitter_sentence(found: Conditioning) -> str:
    if not found.raises:
        return f"Jitter {found.jitter:g} on the diagonal was enough to factorise their covariance."
    tried = ", ".join(f"{jitter:g}" for jitter in (found.requested_jitter or 0.0, *found.raises[:-1]))
    return (
        f"Jitter was raised to {found.jitter:g}, because with {tried} a pivot of the Cholesky factorisation "
        "was no more than round-off; fewer sparse points would avoid it."
    )
