"""Posterior variances of forces and stress, from every term's contribution to the derivatives by position and strain.

Atoms are treated in an order that keeps neighbours close together, as many at a time as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.terms.basis import Environments
from gapkit.terms.protocol import DerivativePart

MEMORY = 2**28  # bytes of tangents held at one time
BATCH = 128  # atoms whose variances are one product


class DerivativeVariances(NamedTuple):
    """Variances of the derivatives of one structure's energy.

    Attributes
    ----------
    forces : ndarray, shape (n_atoms, 3), eV²/Å²
    strain : ndarray, shape (6,), eV²
        Of dE/dε, xx yy zz yz xz xy; that of the stress is ``strain / V**2``, that of the virial the same as `strain`.
    """

    forces: np.ndarray
    strain: np.ndarray


def derivative_variances(environments: Environments, posterior: SparsePosterior) -> DerivativeVariances:
    """Variances ("dtc") of all forces and of the strain derivatives of one structure.

    Parameters
    ----------
    environments : Environments
        Functions and structure.
    posterior : SparsePosterior

    Notes
    -----
    Memory: the tangents of at most 256 MiB worth of atoms at one time (about 1400 atoms with 29 moved centres and 252
    features), 7 n_features numbers per atom and term for the strain, n_sparse numbers for each centre that those atoms
    move. Larger structures are cut along a sweep through the neighbour graph; centres at the cuts are computed again.
    The strain takes time in proportion to n_atoms².
    """
    n_atoms = len(environments.numbers)
    with one_blas_thread():
        order = _sweep(environments.neighbourhoods, n_atoms)
        parts: list[DerivativePart] = []
        for term, blocks, nb in environments.of_terms:
            parts += term.derivative_parts(blocks, nb, environments.numbers, order)
        forces = np.zeros((n_atoms, 3))
        for low, high in _chunks(parts, n_atoms):
            forces[order[low:high]] = _force_variances(parts, posterior, low, high)
        return DerivativeVariances(forces, _strain_variances(parts, posterior))


def _columns(parts: Sequence[DerivativePart]) -> tuple[slice, ...]:
    return tuple(sorted((c for part in parts for c in part.columns), key=lambda c: c.start))


def _sweep(neighbourhoods: Sequence[Neighbourhoods], n_atoms: int) -> np.ndarray:
    """Atoms in an order that keeps neighbours close together, shape (n_atoms,)."""
    if n_atoms == 0 or not neighbourhoods:
        return np.arange(n_atoms)
    nb = max(neighbourhoods, key=lambda nb: len(nb.j))
    graph = csr_array((np.ones(len(nb.j)), (nb.i, nb.j)), shape=(n_atoms, n_atoms))
    return np.asarray(reverse_cuthill_mckee(graph, symmetric_mode=True), dtype=np.int64)


def _chunks(parts: Sequence[DerivativePart], n_atoms: int) -> Iterator[tuple[int, int]]:
    """Ranges of ranks whose tangents fit into `MEMORY`."""
    before = sum((part.memory() for part in parts), np.zeros(n_atoms + 1, dtype=np.int64))
    cuts = np.flatnonzero(np.diff(before[:-1] // MEMORY)) + 1
    return pairwise([0, *cuts.tolist(), n_atoms] if n_atoms else [])


def _force_variances(parts: Sequence[DerivativePart], posterior: SparsePosterior, low: int, high: int) -> np.ndarray:
    """Variances of ∂E/∂r of the atoms of ranks low to high, shape (high - low, 3)."""
    columns = _columns(parts)
    rows, prior = np.zeros((high - low, 3, columns[-1].stop if columns else 0)), np.zeros((high - low, 3))
    scale = sum(part.add_atoms(low, high, rows, prior) for part in parts)
    none = np.zeros((1, rows.shape[2]))

    def variances(start: int) -> np.ndarray:
        """Variances of `BATCH` atoms, shape (n, 3)."""
        some = slice(start, start + BATCH)
        # by symmetry a force can have no variance but round-off: a last functional without data gives the scale
        K_t, K_tt = np.concatenate([*rows[some], none]), np.append(prior[some], scale)
        return posterior.local_variance(K_t, K_tt, columns)[:-1].reshape(-1, 3)

    return np.concatenate(list(ordered_map(variances, range(0, high - low, BATCH))))


def _strain_variances(parts: Sequence[DerivativePart], posterior: SparsePosterior) -> np.ndarray:
    """Variances of ∂E/∂ε, shape (6,)."""
    columns = _columns(parts)
    rows, prior = np.zeros((6, columns[-1].stop if columns else 0)), np.zeros(6)
    for part in parts:
        part.add_strains(rows, prior)
    return posterior.local_variance(rows, prior, columns)
