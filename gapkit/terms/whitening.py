"""From a Gaussian process on sparse points to independent features: K = L Lᵀ, φ = L⁻¹ k, so that φ·φ' = kᵀ K⁻¹ k'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers
from scipy.linalg import solve_triangular
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


class Whitened(NamedTuple):
    """Sparse points of all groups of species, and W of each group.

    Attributes
    ----------
    keys : ndarray of int64, shape (n, n_species)
        Atomic numbers of the group that each point belongs to; a group's points stand together.
    points : ndarray, shape (n, n_coordinates)
    W : ndarray, shape (n, largest group)
        Rows of each group's W, padded with zeros.
    first : ndarray of int64, shape (n_groups + 1,)
        Points of group g are ``first[g]:first[g + 1]``.
    """

    keys: np.ndarray
    points: np.ndarray
    W: np.ndarray
    first: np.ndarray

    @property
    def groups(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Columns and W of each group."""
        for low, high in pairwise(self.first.tolist()):
            yield slice(low, high), self.W[low:high, : high - low]

    def section(self, key: Sequence[int]) -> tuple[int, int]:
        """First point of a group and one past its last; 0, 0 if there is no such group."""
        found = np.flatnonzero(np.all(self.keys[self.first[:-1]] == key, axis=1))
        return (int(self.first[found[0]]), int(self.first[found[0] + 1])) if len(found) else (0, 0)

    def rows(self, raw: np.ndarray) -> np.ndarray:
        """φ = k W of rows k (n_rows, n)."""
        out = np.empty_like(raw)
        for own, W in self.groups:
            np.matmul(raw[:, own], W, out=out[:, own])
        return out

    def weights(self, w: np.ndarray) -> np.ndarray:
        """W w (n,): the weights of k that are those w of φ."""
        return np.concatenate([W @ w[own] for own, W in self.groups])


def stack(groups: Mapping[tuple[int, ...], tuple[np.ndarray, np.ndarray]], name: str, cutoff: float) -> np.ndarray:
    """One array of keys, points and W of all groups: shape (n, n_species + n_coordinates + largest group).

    Raises
    ------
    InputError
        If there are no groups, with the name and the cutoff (Å) of the term.
    """
    if not groups:
        raise InputError(f"no {name.lower()} of atoms is within {name}'s {cutoff:g} Å in any frame: raise the cutoff.")
    widest = max(len(points) for points, _ in groups.values())
    parts = []
    for key, (points, W) in groups.items():
        padded = np.zeros((len(points), widest))
        padded[:, : len(points)] = W
        parts.append(np.hstack([np.tile(np.array(key, dtype=float), (len(points), 1)), points, padded]))
    return np.concatenate(parts)


def split(X: np.ndarray, n_species: int, n_coordinates: int) -> Whitened:
    """The inverse of `stack`."""
    n = n_species + n_coordinates
    keys = X[:, :n_species].astype(np.int64)
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0), axis=1)) + 1
    first = np.concatenate([[0], starts, [len(X)]])
    return Whitened(keys, np.ascontiguousarray(X[:, n_species:n]), X[:, n:], first)


def is_stack(X: np.ndarray, species: Sequence[str], n_species: int, n_coordinates: int) -> bool:
    """Whether X can come from `stack` for groups of these species."""
    if X.ndim != 2 or not len(X) or X.shape[1] <= n_species:
        return False
    keys, known = X[:, :n_species], {float(atomic_numbers[symbol]) for symbol in species}
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0), axis=1)) + 1
    widest = int(np.diff([0, *starts, len(X)]).max())
    distinct = len(np.unique(keys, axis=0)) == len(starts) + 1
    return set(keys.ravel().tolist()) <= known and X.shape[1] == n_species + n_coordinates + widest and distinct
