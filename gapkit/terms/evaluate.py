"""Terms evaluated: (i, j, D) in, local energies and pair gradients g_ij out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase import Atoms

from gapkit._numba import kernels as loops
from gapkit.gaussian_process.kernels import (
    contract_folded,
    contract_gradient,
    inner_products,
    normalise,
)
from gapkit.geometry.neighbourhoods import Neighbourhoods, NeighbourList, find_neighbourhoods, whole_structure
from gapkit.runtime.threads import ordered_map
from gapkit.runtime.workspace import Workspace, thread_workspace
from gapkit.terms.feature_term import FeatureTerm
from gapkit.terms.term import ALL_SPECIES, AnyTerm, SparseBlock, Term, feature_blocks, kernel_term

# centres evaluated together: enough for efficient matrix products, few enough for the cache and to occupy four threads
LARGEST_BLOCK, SMALLEST_BLOCK = 128, 32


class Properties(NamedTuple):
    """What the terms say of one structure.

    Attributes
    ----------
    local_energies : ndarray, shape (n_atoms,), eV
    forces : ndarray, shape (n_atoms, 3), eV/Å
    strain_derivative : ndarray, shape (3, 3), eV
        dE/dε.
    local_variance : ndarray, shape (n_atoms,), eV², or None
        Posterior variance of each local energy, if it was asked for.
    """

    local_energies: np.ndarray
    forces: np.ndarray
    strain_derivative: np.ndarray
    local_variance: np.ndarray | None = None


class LocalVariance(Protocol):
    """`SparsePosterior.local_variance`."""

    def __call__(self, K_t: np.ndarray, K_tt: np.ndarray, columns: tuple[slice, ...]) -> np.ndarray:
        """Variances (n,) of local energies with rows K_t (n, n_columns) and prior variances K_tt (n,)."""
        ...


def find_all_neighbourhoods(
    terms: Sequence[AnyTerm], atoms: Atoms, lists: Mapping[float, NeighbourList] | None = None
) -> list[Neighbourhoods]:
    """One `Neighbourhoods` per term, shared by those with one cutoff; one search for all of them.

    Pairs within the largest cutoff come from `lists` if there is one with it; those within a shorter one are among
    them. A term that reaches through the whole structure gets no pairs, but the structure.
    """
    cutoffs = {term.reach for term in terms if term.reach is not None}
    found = {}
    if cutoffs:
        known = (lists or {}).get(longest := max(cutoffs))
        found[longest] = find_neighbourhoods(atoms, longest) if known is None else known.find(atoms)
        found |= {c: found[longest].within(c) for c in cutoffs - {longest}}
    return [whole_structure(atoms) if term.reach is None else found[term.reach] for term in terms]


def centre_groups(
    blocks: Sequence[SparseBlock], centres: np.ndarray, numbers: np.ndarray, size: int
) -> list[tuple[list[SparseBlock], np.ndarray]]:
    """Groups of at most `size` centres of one species, and that species' sparse blocks (one per term)."""
    groups = []
    for number in sorted({block.number for block in blocks} - {ALL_SPECIES}):
        own = [block for block in blocks if block.number == number]
        which = np.flatnonzero(numbers[centres] == number)
        groups += [(own, which[start : start + size]) for start in range(0, len(which), size)]
    return groups


def centre_blocks(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    size: int = LARGEST_BLOCK,
    workspace: Workspace | None = None,
) -> Iterator[tuple[SparseBlock, Term, Neighbourhoods, np.ndarray, Any]]:
    """Walk through all (sparse block, group of at most `size` centres of its species) with features and state.

    Blocks of a `FeatureTerm` are passed over.
    """
    for own, which in centre_groups(blocks, neighbourhoods[0].centres, numbers, size):
        for block in own:
            nb, term = neighbourhoods[block.term].select(which), kernel_term(terms, block)
            values, state = term.descriptor.evaluate(nb, numbers, workspace)
            yield block, term, nb, values, state


def fold_weights(
    terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock], alpha: np.ndarray
) -> dict[tuple[int, int], Any]:
    """The blocks (term, number) whose weighted sum over sparse points folds into something cheaper, folded."""
    folds = {block[:2]: _fold(terms[block.term], block, alpha[block.columns]) for block in blocks}
    return {key: fold for key, fold in folds.items() if fold is not None}


def _fold(term: AnyTerm, block: SparseBlock, alpha: np.ndarray) -> Any:
    if isinstance(term, FeatureTerm):
        return term.fold(block.X, term.delta**2 * alpha)
    return term.kernel.fold(block.X, alpha)


class _Part(NamedTuple):
    """One term for some centres of one species: pairs, local energies, pair gradients, k(x_i, x_m) and k(x_i, x_i).

    The last two are empty unless variances were asked for.
    """

    nb: Neighbourhoods
    e: np.ndarray
    g: np.ndarray
    K: np.ndarray
    k_ii: np.ndarray


def evaluate(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    alpha: np.ndarray,
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    local_variance: LocalVariance | None = None,
    folds: Mapping[tuple[int, int], Any] | None = None,
) -> Properties:
    """Energies, forces and strain derivative of Σ_t Σ_i Σ_m α_m k_t(x_i, x_m).

    Parameters
    ----------
    terms, blocks
        The potential; `alpha` (n_columns,) are its weights.
    neighbourhoods
        One per term, from `find_all_neighbourhoods`.
    numbers : ndarray of int, shape (n_atoms,)
        Atomic numbers.
    local_variance : callable, optional
        Asks for the variances of the local energies, too.
    folds : mapping, optional
        From `fold_weights` with the same `alpha`.
    """
    n_atoms, folds = len(numbers), folds or {}
    variance = None if local_variance is None else np.zeros(n_atoms)
    result = Properties(np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3)), variance)
    columns, K_features = _feature_covariances(terms, blocks, neighbourhoods, numbers, local_variance is not None)

    def contributions(group: tuple[list[SparseBlock], np.ndarray]) -> tuple[list[_Part], np.ndarray | None]:
        """All terms for one group of centres and, if asked for, the variances of its local energies."""
        own, which = group
        wanted = local_variance is not None
        parts = [
            _contribution(terms, block, alpha, neighbourhoods, numbers, which, wanted, folds.get(block[:2]))
            for block in own
        ]
        if local_variance is None:
            return parts, None
        K_k = [(part.K, part.k_ii) for part in parts] + [(K[which], k_ii[which]) for K, k_ii in K_features]
        K = K_k[0][0] if len(K_k) == 1 else np.concatenate([K for K, _ in K_k], axis=1)
        k_ii = sum(k_ii for _, k_ii in K_k)
        return parts, local_variance(K, np.asarray(k_ii), (*(block.columns for block in own), *columns))

    centres = neighbourhoods[0].centres
    size = min(max(-(-len(centres) // 4), SMALLEST_BLOCK), LARGEST_BLOCK)
    groups = centre_groups(blocks, centres, numbers, size)
    if not groups and columns:
        groups = [([], np.arange(start, min(start + size, len(centres)))) for start in range(0, len(centres), size)]
    for (_, which), (parts, local) in zip(groups, ordered_map(contributions, groups)):
        for nb, e, g, _, _ in parts:
            result.local_energies[nb.centres] += e
            loops.pair_forces(nb.centres, nb.first, nb.j, nb.D, g, result.forces, result.strain_derivative)
        if variance is not None:
            variance[centres[which]] = local
    for t, term, block in feature_blocks(terms, blocks):
        fold = folds[block[:2]] if block[:2] in folds else _fold(term, block, alpha[block.columns])
        for total, part in zip(result, term.evaluate(fold, neighbourhoods[t], numbers)):
            total += part
    strain = result.strain_derivative
    return result._replace(strain_derivative=0.5 * (strain + strain.T))


def _feature_covariances(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    wanted: bool,
) -> tuple[list[slice], list[tuple[np.ndarray, np.ndarray]]]:
    """Columns of every `FeatureTerm`, and k(x_i, x_m) (n_atoms, n_columns) and k(x_i, x_i) (n_atoms,) of all atoms."""
    if not wanted:
        return [], []
    columns, covariances = [], []
    for t, term, block in feature_blocks(terms, blocks):
        phi = term.rows(block.X, neighbourhoods[t], numbers, derivatives=False).local
        columns.append(block.columns)
        covariances.append((term.delta**2 * phi, term.delta**2 * np.einsum("ik,ik->i", phi, phi)))
    return columns, covariances


def _contribution(
    terms: Sequence[AnyTerm],
    block: SparseBlock,
    alpha: np.ndarray,
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    which: np.ndarray,
    with_covariances: bool,
    fold: np.ndarray | None,
) -> _Part:
    work, term, nb = thread_workspace(), kernel_term(terms, block), neighbourhoods[block.term].select(which)
    values, state = term.descriptor.evaluate(nb, numbers, work)
    Q, norm = normalise(values)
    K, k_ii = np.empty((0, 0)), np.empty(0)
    if with_covariances or fold is None:
        S = inner_products(Q, block.X, work)
    if with_covariances:
        K, k_ii = term.kernel.value(S), term.kernel.diag(Q)
    if fold is None:
        e, x_bar = contract_gradient(term.kernel, S, Q, norm, block.X, alpha[block.columns], work)
    else:
        e, x_bar = contract_folded(fold, Q, norm, work)
    return _Part(nb, e, term.descriptor.pullback(state, x_bar, work), K, k_ii)
