"""K_mm, K_nm and K_tt: the chain rule from kernels and descriptors to rows, one structure at a time.

Each label is a linear functional of the local energies, so each row of K_nm is the same functional of k(·, x_m):

    energy row       Σ_i k(x_i, x_m)
    force row (j,a)  -∂/∂r_ja Σ_i k(x_i, x_m)
    virial row (ab)  -∂/∂ε_ab Σ_i k(x_i, x_m)

Derivatives of the descriptors exist for a few centres at a time and are thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag

from gapkit._numba import kernels as loops
from gapkit.gaussian_process.kernels import inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.workspace import thread_workspace
from gapkit.terms.evaluate import centre_blocks
from gapkit.terms.feature_term import FeatureTerm
from gapkit.terms.term import AnyTerm, SparseBlock, feature_blocks

ROW_BLOCK = 8  # centres whose tangents are held at one time: some hundred rows, which the cache holds


class StructureRows(NamedTuple):
    """Rows of K_nm for one structure, in the kernel's units.

    Attributes
    ----------
    energy : ndarray, shape (n_sparse,), eV²
    forces : ndarray, shape (3 n_atoms, n_sparse), eV²/Å
    virial : ndarray, shape (6, n_sparse), eV²; xx yy zz yz xz xy
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


def n_columns(blocks: Sequence[SparseBlock]) -> int:
    """Total number of sparse points."""
    return max((block.columns.stop for block in blocks), default=0)


def K_mm(terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock]) -> np.ndarray:
    """Covariance of the sparse points, shape (n_sparse, n_sparse), block-diagonal over terms and species, eV²."""
    return np.asarray(block_diag(*(_block_covariance(terms[block.term], block) for block in blocks)))


def _block_covariance(term: AnyTerm, block: SparseBlock) -> np.ndarray:
    if isinstance(term, FeatureTerm):
        return term.delta**2 * np.eye(term.n_columns(block.X))
    return term.kernel.value(block.X @ block.X.T)


def structure_rows(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    derivatives: bool = True,
) -> StructureRows:
    """Energy, force and virial rows of one structure (force and virial rows zero unless `derivatives`)."""
    M = n_columns(blocks)
    rows = StructureRows(np.zeros(M), np.zeros((3 * len(numbers) if derivatives else 0, M)), np.zeros((6, M)))
    size = ROW_BLOCK if derivatives else 8 * ROW_BLOCK
    work = thread_workspace()
    for block, term, _, values, state in centre_blocks(terms, blocks, neighbourhoods, numbers, size, work):
        Q, norm = normalise(values)
        S = inner_products(Q, block.X, work)
        K, slope = term.kernel.value_and_slope(S)
        rows.energy[block.columns] += K.sum(axis=0)
        if not derivatives:
            continue
        products = term.descriptor.row_products(state, Q, norm, block.X, S, work)
        loops.add_rows(products.T, slope, *products[1:], rows.forces[:, block.columns], rows.virial[:, block.columns])
    for t, feature_term, block in feature_blocks(terms, blocks):
        phi = feature_term.rows(block.X, neighbourhoods[t], numbers, derivatives)
        for K, part in zip(rows, (phi.local.sum(axis=0), phi.forces, phi.virial)):
            K[..., block.columns] = feature_term.delta**2 * part
    return rows


def local_rows(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
) -> np.ndarray:
    """Rows of the local energies, k(x_i, x_m), shape (n_atoms, n_sparse), eV²."""
    rows = np.zeros((len(numbers), n_columns(blocks)))
    for block, term, nb, values, _ in centre_blocks(terms, blocks, neighbourhoods, numbers):
        rows[nb.centres, block.columns] = term.kernel.value(normalise(values)[0] @ block.X.T)
    for t, feature_term, block in feature_blocks(terms, blocks):
        local = feature_term.rows(block.X, neighbourhoods[t], numbers, derivatives=False).local
        rows[:, block.columns] = feature_term.delta**2 * local
    return rows


def prior_energy_variance(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
) -> float:
    """K_tt of the total energy, Σ_ii' k(x_i, x_i') with all cross terms between atoms, eV²."""
    features: dict[tuple[int, int], list[np.ndarray]] = {}
    kernels = {}
    for block, term, _, values, _ in centre_blocks(terms, blocks, neighbourhoods, numbers):
        features.setdefault((block.term, block.number), []).append(normalise(values)[0])
        kernels[block.term] = term.kernel
    total = 0.0
    for (t, _), parts in features.items():
        Q = np.concatenate(parts)
        for part in parts:
            total += float(kernels[t].value(part @ Q.T).sum())
    for t, feature_term, block in feature_blocks(terms, blocks):
        phi = feature_term.rows(block.X, neighbourhoods[t], numbers, derivatives=False).local.sum(axis=0)
        total += feature_term.delta**2 * float(phi @ phi)
    return total
