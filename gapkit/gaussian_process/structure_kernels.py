"""Similarity of whole structures from the similarity of their atoms: Gram matrices, maps, duplicate search.

A *local kernel* compares atoms: ``kernel(X, Z)`` takes feature rows (n, n_features) and (m, n_features) and returns
C (n, m), where C_ij depends on rows i and j only. The classes here turn C into one number per pair of structures
(De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016)). Their Gram matrices go straight into any
scikit-learn method with ``kernel="precomputed"``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapkit._numba.similarity import match_pairs
from gapkit.errors import InputError, warn

__all__ = ["AverageKernel", "LocalKernel", "REMatchKernel", "StructureKernel", "SumKernel", "find_duplicates"]

LocalKernel: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Array: TypeAlias = NDArray[np.float64]

_BLOCK_ROWS = 1024  # one block of C takes 8 MB
_MAX_ITERATIONS = 10_000
_SMALLEST_ALPHA = 1e-9  # of the spread of C: below, the exponents (C - max C) / alpha have too few digits left


class _Packed(NamedTuple):
    """All structures in one matrix: rows first[s]:first[s + 1] of X are the atoms of structure s."""

    X: _Array  # (n_rows, n_features)
    species: NDArray[np.int64]  # (n_rows,)
    first: NDArray[np.int64]  # (n_structures + 1,)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms per structure, (n_structures,)."""
        return np.diff(self.first)

    def between(self, start: int, stop: int) -> _Packed:
        """The structures start:stop."""
        rows = slice(self.first[start], self.first[stop])
        return _Packed(self.X[rows], self.species[rows], self.first[start : stop + 1] - self.first[start])

    def rows_of(self, z: int) -> tuple[_Array, NDArray[np.int64]]:
        """Rows of one species and the structure that owns each of them."""
        chosen = self.species == z
        return self.X[chosen], np.repeat(np.arange(len(self.sizes)), self.sizes)[chosen]


@dataclass(frozen=True)
class StructureKernel(ABC):
    """A similarity between whole structures, built on a local kernel between atoms.

    Parameters
    ----------
    kernel
        Local kernel: rows (n, n_features) and (m, n_features) to similarities (n, m), e.g. ``gapkit.DotProduct()``.
    normalize
        Divide K_ab by sqrt(K_aa K_bb), so that every structure has similarity 1 with itself.
    """

    kernel: LocalKernel
    normalize: bool = field(default=True, kw_only=True)

    def __call__(
        self,
        features_a: Sequence[ArrayLike],
        features_b: Sequence[ArrayLike] | None = None,
        *,
        species_a: Sequence[ArrayLike] | None = None,
        species_b: Sequence[ArrayLike] | None = None,
    ) -> _Array:
        """Gram matrix between two lists of structures, or of one list with itself.

        Parameters
        ----------
        features_a, features_b
            One array (n_atoms, n_features) per structure. Without `features_b`, the list `features_a` is compared with
            itself and the result is symmetric to the last bit.
        species_a, species_b
            Atomic numbers (n_atoms,) per structure. With them, atoms of different species have similarity 0.

        Returns
        -------
        K
            (n_a, n_b), without unit if normalised, else in units of the local kernel.

        Raises
        ------
        InputError
            No structures, a structure without atoms, differing numbers of features, NaN, species that do not fit,
            a structure whose similarity with itself is not positive and therefore cannot be normalised.
        """
        if (features_b is None and species_b is not None) or (
            features_b is not None and (species_a is None) != (species_b is None)
        ):
            raise InputError("species are given for only one of the two lists compared; give species_a and species_b.")
        a = _pack(features_a, species_a, "features_a")
        b = None if features_b is None else _pack(features_b, species_b, "features_b")
        if b is not None and a.X.shape[1] != b.X.shape[1]:
            raise InputError(
                f"features_a has {a.X.shape[1]} features per atom but features_b {b.X.shape[1]}; "
                "compute both with the same descriptor."
            )
        K = self._similarities(a, b)
        return self._normalised(K, a, b) if self.normalize else K

    @abstractmethod
    def _similarities(self, a: _Packed, b: _Packed | None) -> _Array:
        """Unnormalised Gram matrix, (n_a, n_b), or symmetric (n_a, n_a)."""

    def _normalised(self, K: _Array, a: _Packed, b: _Packed | None) -> _Array:
        if b is None:
            diagonal = _positive(K.diagonal(), "features_a")
            return K / np.sqrt(np.multiply.outer(diagonal, diagonal))
        diagonal_a = _positive(self._self_similarities(a), "features_a")
        diagonal_b = _positive(self._self_similarities(b), "features_b")
        return K / np.sqrt(np.multiply.outer(diagonal_a, diagonal_b))

    def _self_similarities(self, a: _Packed) -> _Array:
        return np.array([self._similarities(a.between(s, s + 1), None)[0, 0] for s in range(len(a.sizes))])


@dataclass(frozen=True)
class SumKernel(StructureKernel):
    """K(A, B) = Σ_ij C_ij: the covariance of total energies that are sums of local energies.

    Parameters
    ----------
    kernel
        Local kernel.
    normalize
        Off: the sum grows with the number of atoms.
    """

    normalize: bool = field(default=False, kw_only=True)

    def _similarities(self, a: _Packed, b: _Packed | None) -> _Array:
        return _block_sums(self.kernel, a, b)


@dataclass(frozen=True)
class AverageKernel(StructureKernel):
    """K(A, B) = Σ_ij C_ij / (n m): structures are compared by their average atom.

    Different structures with equal averages (a cell and its supercell always) have similarity 1.

    Parameters
    ----------
    kernel
        Local kernel.
    normalize
        Divide K_ab by sqrt(K_aa K_bb).
    """

    def _similarities(self, a: _Packed, b: _Packed | None) -> _Array:
        return _block_sums(self.kernel, a, b) / np.multiply.outer(a.sizes, (b or a).sizes)


@dataclass(frozen=True)
class REMatchKernel(StructureKernel):
    """Regularised-entropy match: K(A, B) = Σ_ij P_ij C_ij with the plan P that pairs up similar atoms.

    P maximises Σ_ij P_ij (C_ij − alpha ln P_ij) among the plans whose rows sum to 1/n and columns to 1/m; it is found
    by Sinkhorn balancing. alpha → ∞ gives the average kernel, alpha → 0 the best one-to-one match.
    The Gram matrix is not positive semi-definite by construction.

    Parameters
    ----------
    kernel
        Local kernel.
    alpha
        Weight of the entropy, in units of the local kernel.
    threshold
        Balancing stops once the squared relative change of the two scalings in one step falls to this.
    normalize
        Divide K_ab by sqrt(K_aa K_bb).
    """

    alpha: float = 0.1
    threshold: float = 1e-6

    def _similarities(self, a: _Packed, b: _Packed | None) -> _Array:
        for name, value in (("alpha", self.alpha), ("threshold", self.threshold)):
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{name} of REMatchKernel must be a finite number above 0, got {value}.")
        columns = a if b is None else b
        K = np.zeros((len(a.sizes), len(columns.sizes)))
        for i, i_stop in _groups(a):
            for j, j_stop in _groups(columns):
                if b is None and j < i:
                    continue
                K[i:i_stop, j:j_stop] = self._match(
                    a.between(i, i_stop), columns.between(j, j_stop), b is None and i == j
                )
        return np.triu(K) + np.triu(K, 1).T if b is None else K

    def _match(self, a: _Packed, b: _Packed, symmetric: bool) -> _Array:
        C = np.where(a.species[:, None] == b.species, _local(self.kernel, a.X, b.X), 0.0)
        spread = float(np.ptp(C))
        if self.alpha < _SMALLEST_ALPHA * spread:
            raise InputError(
                f"alpha = {self.alpha} of REMatchKernel is too small for similarities that differ by {spread:.3g}; "
                f"use at least {_SMALLEST_ALPHA * spread:.1e}."
            )
        K = np.zeros((len(a.sizes), len(b.sizes)))
        pairs = np.argwhere(np.triu(np.ones_like(K))) if symmetric else np.argwhere(np.ones_like(K))
        similarity, converged = match_pairs(
            C, a.first, b.first, pairs, float(self.alpha), float(self.threshold), _MAX_ITERATIONS
        )
        if not converged.all():
            warn(
                f"REMatchKernel: {(~converged).sum()} of {len(pairs)} pairs did not reach threshold {self.threshold:g} "
                f"in {_MAX_ITERATIONS} steps; raise alpha ({self.alpha:g}) or the threshold."
            )
        K[tuple(pairs.T)] = similarity
        return K


def find_duplicates(
    structures_features: Sequence[ArrayLike],
    kernel: StructureKernel,
    tolerance: float = 1e-6,
    *,
    species: Sequence[ArrayLike] | None = None,
) -> list[tuple[int, int, float]]:
    """Pairs of structures that a kernel cannot tell apart.

    Parameters
    ----------
    structures_features
        One array (n_atoms, n_features) per structure.
    kernel
        Structure kernel; it is normalised here if it is not already.
    tolerance
        Largest distance sqrt(|2 − 2 K_ab|) of the normalised kernel. Round-off alone gives about 1e-8.
    species
        Atomic numbers (n_atoms,) per structure, if atoms of different species are not to be compared.

    Returns
    -------
    pairs
        (a, b, distance) with a < b, sorted.

    Raises
    ------
    InputError
        As the kernel itself, or a tolerance that is not above 0.
    """
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise InputError(f"tolerance must be a finite number above 0, got {tolerance}.")
    K = kernel(structures_features, species_a=species)
    diagonal = _positive(K.diagonal(), "structures_features")
    K = K / np.sqrt(np.multiply.outer(diagonal, diagonal))
    # |·|: an indefinite kernel (REMatch) can give K > 1 for structures that differ
    distance = np.sqrt(np.abs(2.0 - 2.0 * K))
    pairs = np.argwhere(np.triu(distance < tolerance, 1))
    return [(int(i), int(j), float(distance[i, j])) for i, j in pairs]


def _pack(features: Sequence[ArrayLike], species: Sequence[ArrayLike] | None, name: str) -> _Packed:
    if len(features) == 0:
        raise InputError(f"{name} holds no structures; give one array (n_atoms, n_features) per structure.")
    arrays = [_checked(X, f"structure {s} of {name}") for s, X in enumerate(features)]
    for s, X in enumerate(arrays):
        if X.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"structure {s} of {name} has {X.shape[1]} features per atom but structure 0 has {arrays[0].shape[1]}; "
                "compute all with the same descriptor."
            )
    first = np.concatenate([[0], np.cumsum([len(X) for X in arrays])])
    X = np.concatenate(arrays)
    return _Packed(X, _packed_species(species, arrays, name), first)


def _checked(X: ArrayLike, what: str) -> _Array:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2:
        raise InputError(f"{what} has features of shape {X.shape}; give a list of arrays (n_atoms, n_features).")
    if 0 in X.shape:
        raise InputError(f"{what} is empty, its features have shape {X.shape}; remove it.")
    if not np.isfinite(X).all():
        atom = int(np.argwhere(~np.isfinite(X))[0, 0])
        raise InputError(f"{what} has NaN or infinite features at atom {atom}; check its geometry.")
    return X


def _packed_species(species: Sequence[ArrayLike] | None, arrays: list[_Array], name: str) -> NDArray[np.int64]:
    sizes = [len(X) for X in arrays]
    if species is None:
        return np.zeros(sum(sizes), dtype=np.int64)
    lengths = [np.size(z) for z in species]
    if lengths != sizes:
        wrong = next((s for s, (n, m) in enumerate(zip(lengths, sizes)) if n != m), min(len(lengths), len(sizes)))
        raise InputError(f"species do not fit {name} at structure {wrong}; give one atomic number per feature row.")
    packed = np.concatenate([np.ravel(z) for z in species])
    if packed.dtype.kind not in "iu":
        raise InputError(f"species of {name} must be whole atomic numbers, got values of type {packed.dtype}.")
    return packed.astype(np.int64)


def _local(kernel: LocalKernel, X: _Array, Z: _Array) -> _Array:
    C = np.asarray(kernel(X, Z), dtype=np.float64)
    if C.shape != (len(X), len(Z)):
        raise InputError(f"the local kernel returned shape {C.shape} for {len(X)} and {len(Z)} rows; return (n, m).")
    if not np.isfinite(C).all():
        raise InputError(
            "the local kernel returned NaN or infinite values; check its parameters and features of zeros."
        )
    return C


def _positive(diagonal: _Array, name: str) -> _Array:
    if not (diagonal > 0).all():
        s = int(np.argmin(diagonal > 0))
        raise InputError(
            f"structure {s} of {name} has similarity {diagonal[s]:.3g} with itself, so it cannot be normalised; "
            "check for features of zeros or use normalize=False."
        )
    return diagonal


def _block_sums(kernel: LocalKernel, a: _Packed, b: _Packed | None) -> _Array:
    """Σ_{i in A, j in B, same species} C_ij for all pairs of structures, one large block of C at a time."""
    total = np.zeros((len(a.sizes), len((b or a).sizes)))
    for z in np.unique(a.species):
        X, owner = a.rows_of(z)
        Z, owner_z = (X, owner) if b is None else b.rows_of(z)
        for rows in _chunks(len(X)):
            for columns in _chunks(len(Z)):
                if b is None and columns.start < rows.start:
                    continue
                C = _local(kernel, X[rows], Z[columns])
                weight = 0.5 if b is None and columns.start == rows.start else 1.0
                _add_sums(total, C, owner[rows], owner_z[columns], weight)
    return total + total.T if b is None else total


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK_ROWS, n)) for start in range(0, n, _BLOCK_ROWS))


def _add_sums(total: _Array, C: _Array, owner_a: NDArray[np.int64], owner_b: NDArray[np.int64], weight: float) -> None:
    """Add weight times the sums of C over rows and columns of equal (sorted) owners to `total`."""
    start_a = np.flatnonzero(np.diff(owner_a, prepend=-1))
    start_b = np.flatnonzero(np.diff(owner_b, prepend=-1))
    sums = np.add.reduceat(np.add.reduceat(C, start_b, axis=1), start_a, axis=0)
    total[np.ix_(owner_a[start_a], owner_b[start_b])] += weight * sums


def _groups(a: _Packed) -> Iterator[tuple[int, int]]:
    """Runs start:stop of whole structures with about `_BLOCK_ROWS` rows, at least one structure each."""
    start = 0
    for s in range(1, len(a.sizes)):
        if a.first[s + 1] - a.first[start] > _BLOCK_ROWS:
            yield start, s
            start = s
    yield start, len(a.sizes)
