"""Sums over atomic environments: Σ_i Σ_m α_m k(x_i, x_m) and the rows k(·, x_m), centres in groups of one species.

The input is (i, j, D), the output (local energies, pair gradients g_ij), from which any program that has pairs gets
energies, forces and strain derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gapkit._numba import kernels as loops
from gapkit.descriptors.protocol import Descriptor
from gapkit.gaussian_process.kernels import Kernel, contract_folded, contract_gradient, inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.runtime.workspace import Workspace, thread_workspace
from gapkit.structures.properties import Properties
from gapkit.terms.records import Part, SparseBlock, StructureRows

if TYPE_CHECKING:
    from gapkit.terms.protocol import CentreTerm, Folds

# centres evaluated together: enough for efficient matrix products, few enough for the cache and to occupy four threads
LARGEST_BLOCK, SMALLEST_BLOCK = 128, 32
ROW_BLOCK = 8  # centres whose tangents are held at one time: some hundred rows, which the cache holds
PULL_BACK = 16  # operations of the pull-back per feature and neighbour, roughly


def centre_groups(centres: np.ndarray, numbers: np.ndarray, size: int) -> list[np.ndarray]:
    """Places (in `centres`) of at most `size` centres of one species, species by atomic number."""
    groups, of = [], numbers[centres]
    for number in np.unique(of):
        which = np.flatnonzero(of == number)
        groups += [which[start : start + size] for start in range(0, len(which), size)]
    return groups


def block_of(blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray) -> SparseBlock | None:
    """The block of the species that all centres of `nb` are of; None if there is none."""
    if not len(nb.centres):
        return None
    number = numbers[nb.centres[0]]
    return next((block for block in blocks if block.key == number), None)


def centre_features(
    descriptor: Descriptor,
    blocks: Sequence[SparseBlock],
    nb: Neighbourhoods,
    numbers: np.ndarray,
    size: int = LARGEST_BLOCK,
    workspace: Workspace | None = None,
) -> Iterator[tuple[SparseBlock, Neighbourhoods, np.ndarray, Any]]:
    """Groups of at most `size` centres: their block and neighbourhoods, features (n, n_features) and state."""
    for which in centre_groups(nb.centres, numbers, size):
        own = nb.select(which)
        block = block_of(blocks, own, numbers)
        if block is not None:
            yield block, own, *descriptor.evaluate(own, numbers, workspace)


def add_rows(
    descriptor: Descriptor,
    kernel: Kernel,
    blocks: Sequence[SparseBlock],
    nb: Neighbourhoods,
    numbers: np.ndarray,
    rows: StructureRows,
) -> None:
    """Rows of one structure, derivatives computed for a few centres at a time and not kept."""
    size, work = (ROW_BLOCK if rows.has_derivatives else 8 * ROW_BLOCK), thread_workspace()
    for block, _, values, state in centre_features(descriptor, blocks, nb, numbers, size, work):
        Q, norm = normalise(values)
        S = inner_products(Q, block.X, work)
        K, slope = kernel.value_and_slope(S)
        rows.energy[block.columns] += K.sum(axis=0)
        if rows.has_derivatives:
            products = descriptor.row_products(state, Q, norm, block.X, S, work)
            own = rows.forces[:, block.columns], rows.virial[:, block.columns]
            loops.add_rows(products.T, slope, *products[1:], *own)


def contribution(
    descriptor: Descriptor,
    kernel: Kernel,
    block: SparseBlock,
    alpha: np.ndarray,
    fold: Any,
    nb: Neighbourhoods,
    numbers: np.ndarray,
    with_covariances: bool,
) -> Part:
    """Contribution of one block, with weights `alpha` (n,) or folded, at the centres of `nb`."""
    work = thread_workspace()
    values, state = descriptor.evaluate(nb, numbers, work)
    Q, norm = normalise(values)
    K, k_ii = np.empty((0, 0)), np.empty(0)
    if with_covariances or fold is None:
        S = inner_products(Q, block.X, work)
    if with_covariances:
        K, k_ii = kernel.value(S), kernel.diag(Q)
    if fold is None:
        e, x_bar = contract_gradient(kernel, S, Q, norm, block.X, alpha, work)
    else:
        e, x_bar = contract_folded(fold, Q, norm, work)
    return Part(nb, e, descriptor.pullback(state, x_bar, work), (block.columns,), K, k_ii)


def evaluate(
    term: CentreTerm,
    blocks: Sequence[SparseBlock],
    alpha: np.ndarray,
    folds: Folds,
    nb: Neighbourhoods,
    numbers: np.ndarray,
) -> Properties:
    """One term alone at all centres of one structure."""
    total = Properties.zeros(len(numbers))
    groups = (nb.select(which) for which in centre_groups(nb.centres, numbers, LARGEST_BLOCK))
    for part in ordered_map(lambda own: term.contribution(blocks, alpha, folds, own, numbers, False), groups):
        if part is not None:
            add_part(total, part)
    return total._replace(energy=float(total.local_energies.sum()))


def add_part(total: Properties, part: Part) -> None:
    """Scatter local energies and pair gradients of some centres to atoms."""
    nb = part.nb
    total.local_energies[nb.centres] += part.e
    loops.pair_forces(nb.centres, nb.first, nb.j, nb.D, part.g, total.forces, total.strain_derivative)


# ---- many sets of weights


def contributions(
    descriptor: Descriptor,
    kernel: Kernel,
    block: SparseBlock,
    weights: np.ndarray,
    folds: Sequence[Folds],
    nb: Neighbourhoods,
    numbers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Local energies (n, n_centres) and pair gradients (n, n_pairs, 3) of all weights from one set of features."""
    work = thread_workspace()
    values, state = descriptor.evaluate(nb, numbers, work)
    Q, norm = normalise(values)
    S = inner_products(Q, block.X)
    e, g = np.empty((len(weights), len(nb.centres))), np.empty((len(weights), len(nb.j), 3))
    for s, (w, fold) in enumerate(zip(weights, folds)):
        if block[:2] in fold:
            e[s], x_bar = contract_folded(fold[block[:2]], Q, norm, work)
        else:
            e[s], x_bar = contract_gradient(kernel, S.copy(), Q, norm, block.X, w[block.columns], work)
        g[s] = descriptor.pullback(state, x_bar, work)
    return e, g


def operations(blocks: Sequence[SparseBlock], neighbours: float, n_members: int) -> tuple[float, float]:
    """Operations per atom of `n_members` sets of weights: by rows, and by contractions with the weights."""
    by_rows = by_members = 0.0
    for block in blocks:
        m, n_features = block.X.shape
        by_rows += 2 * (3 * neighbours + 9) * m * n_features + 6 * n_members * m
        by_members += n_members * n_features * (2 * m + PULL_BACK * neighbours)
    return by_rows, by_members
