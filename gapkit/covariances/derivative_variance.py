"""Posterior variances of forces and stress: the mixed second derivatives of the kernel, summed over what an atom moves.

A derivative of the energy by a coordinate t (of atom j, or a strain) is Σ_i ∂k(x_i, ·)/∂t over the centres i that t
moves. With k = φ(s), s = q_i·q_i' (φ holds δ²) and tangents d_i = ∂q_i/∂t of the normalised features, so that
∂s/∂t = d_i·q_i' on the left, q_i·d_i' on the right and ∂²s/∂t∂t' = d_i·d_i',

    K_tt = Σ_ii' [ φ''(s) (d_i·q_i') (q_i·d_i') + φ'(s) d_i·d_i' ],   K_tm = Σ_i φ'(q_i·x_m) d_i·x_m

over pairs of one term and species. An atom moves itself and its neighbours, a strain moves all. Tangents are made once,
centre by centre, and sorted by the atom that moves: an atom's own ones are then one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from gapkit._numba import derivative_variance as loops
from gapkit.covariances.rows import ROW_BLOCK
from gapkit.descriptors.soap import neighbour_slots
from gapkit.gaussian_process.kernels import Kernel, inner_products, normalise
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.runtime.workspace import thread_workspace
from gapkit.terms.term import ALL_SPECIES, AnyTerm, SparseBlock, Term, feature_blocks, kernel_term

MEMORY = 2**28  # bytes of tangents held at one time
BATCH = 128  # atoms whose variances, or centres whose strains, are done in one product


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


class _Centres(NamedTuple):
    """All centres of one sparse block, and which atoms move them, sorted by the atom's rank.

    Attributes
    ----------
    block, term, nb, numbers
        Whose centres, their neighbourhoods, atomic numbers of all atoms.
    slot_first : ndarray of int, shape (n_centres + 1,)
    place : ndarray of int, shape (n_moves,)
        Where each slot (order of `Tangents`) stands in the sorted order.
    centre : ndarray of int, shape (n_moves,)
        Centre of each move in the sorted order.
    first : ndarray of int, shape (n_atoms + 1,)
        Moves by the atom of rank r are ``first[r]:first[r + 1]``.
    Q, strain : ndarray, shapes (n_centres, n_features), (n_centres, 6, n_features)
        Normalised features and their derivatives by strain, filled in on the way.
    """

    block: SparseBlock
    term: Term
    nb: Neighbourhoods
    numbers: np.ndarray
    slot_first: np.ndarray
    place: np.ndarray
    centre: np.ndarray
    first: np.ndarray
    Q: np.ndarray
    strain: np.ndarray


def derivative_variances(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    posterior: SparsePosterior,
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
) -> DerivativeVariances:
    """Variances ("dtc") of all forces and of the strain derivatives of one structure.

    Parameters
    ----------
    terms, blocks, posterior
        The fitted potential.
    neighbourhoods : sequence of Neighbourhoods
        One per term, of all atoms, from `find_all_neighbourhoods`.
    numbers : ndarray of int, shape (n_atoms,)
        Atomic numbers.

    Notes
    -----
    Memory: the tangents of at most 256 MiB worth of atoms at one time (about 1400 atoms with 29 moved centres and 252
    features), 7 n_features numbers per atom and term for the strain, n_sparse numbers for each centre that those atoms
    move. Larger structures are cut along a sweep through the neighbour graph; centres at the cuts are done again. The
    strain takes time in proportion to n_atoms².
    """
    with one_blas_thread():
        order = _sweep(neighbourhoods, len(numbers))
        centres = [
            _find_moves(kernel_term(terms, b), b, neighbourhoods[b.term], numbers, order)
            for b in blocks
            if b.number != ALL_SPECIES
        ]
        features = _find_features(terms, blocks, neighbourhoods, numbers, order)
        forces = np.zeros((len(numbers), 3))
        for low, high in _chunks(centres, len(numbers)):
            forces[order[low:high]] = _force_variances(centres, features, posterior, low, high)
        return DerivativeVariances(forces, _strain_variances(centres, features, posterior))


class _FeatureColumns(NamedTuple):
    """Derivatives of the features of one term, times δ.

    Attributes
    ----------
    columns : slice
    delta : float
        δ: the rows K_tm are δ times `forces` and `strain`.
    forces : ndarray, shape (n_atoms, 3, n_columns)
        δ ∂φ/∂r, atoms by rank.
    strain : ndarray, shape (6, n_columns)
        δ ∂φ/∂ε.
    """

    columns: slice
    delta: float
    forces: np.ndarray
    strain: np.ndarray


def _find_features(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    order: np.ndarray,
) -> list[_FeatureColumns]:
    found = []
    for t, term, block in feature_blocks(terms, blocks):
        rows = term.rows(block.X, neighbourhoods[t], numbers)
        forces = -term.delta * rows.forces.reshape(len(numbers), 3, -1)[order]
        found.append(_FeatureColumns(block.columns, term.delta, forces, -term.delta * rows.virial))
    return found


def _all_columns(centres: Sequence[_Centres], features: Sequence[_FeatureColumns]) -> tuple[slice, ...]:
    columns = [*(c.block.columns for c in centres), *(f.columns for f in features)]
    return tuple(sorted(columns, key=lambda c: c.start))


def _sweep(neighbourhoods: Sequence[Neighbourhoods], n_atoms: int) -> np.ndarray:
    """Atoms in an order in which neighbours stand close together, shape (n_atoms,)."""
    if n_atoms == 0 or not neighbourhoods:
        return np.arange(n_atoms)
    nb = max(neighbourhoods, key=lambda nb: len(nb.j))
    graph = csr_array((np.ones(len(nb.j)), (nb.i, nb.j)), shape=(n_atoms, n_atoms))
    return np.asarray(reverse_cuthill_mckee(graph, symmetric_mode=True), dtype=np.int64)


def _find_moves(
    term: Term, block: SparseBlock, neighbourhoods: Neighbourhoods, numbers: np.ndarray, order: np.ndarray
) -> _Centres:
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    nb = neighbourhoods.select(np.flatnonzero(numbers[neighbourhoods.centres] == block.number))
    _, _, atom, slot_first = neighbour_slots(nb)
    by_atom = np.argsort(rank[atom], kind="stable")
    place = np.empty_like(by_atom)
    place[by_atom] = np.arange(len(by_atom))
    centre = np.repeat(np.arange(len(nb.centres)), np.diff(slot_first))[by_atom]
    first = np.searchsorted(rank[atom][by_atom], np.arange(len(order) + 1))
    n, n_features = len(nb.centres), block.X.shape[1]
    features = np.empty((n, n_features)), np.empty((n, 6, n_features))
    return _Centres(block, term, nb, numbers, slot_first, place, centre, first, *features)


def _chunks(centres: Sequence[_Centres], n_atoms: int) -> Iterator[tuple[int, int]]:
    """Ranges of ranks whose tangents fit into `MEMORY`."""
    before = sum((24 * c.first * c.Q.shape[1] for c in centres), np.zeros(n_atoms + 1, dtype=np.int64))
    cuts = np.flatnonzero(np.diff(before[:-1] // MEMORY)) + 1
    return pairwise([0, *cuts.tolist(), n_atoms] if n_atoms else [])


def _force_variances(
    centres: Sequence[_Centres],
    features: Sequence[_FeatureColumns],
    posterior: SparsePosterior,
    low: int,
    high: int,
) -> np.ndarray:
    """Variances of ∂E/∂r of the atoms of ranks low to high, shape (high - low, 3)."""
    columns = _all_columns(centres, features)
    rows, prior = np.zeros((high - low, 3, columns[-1].stop if columns else 0)), np.zeros((high - low, 3))
    scale = sum(_add_atoms(c, low, high, rows, prior) for c in centres)
    for f in features:
        rows[..., f.columns] = f.delta * f.forces[low:high]
        prior += np.einsum("nak,nak->na", f.forces[low:high], f.forces[low:high])
    none = np.zeros((1, rows.shape[2]))

    def variances(start: int) -> np.ndarray:
        """Of `BATCH` atoms, shape (n, 3)."""
        some = slice(start, start + BATCH)
        # by symmetry a force can have no variance but round-off: a last functional without data tells the scale
        K_t, K_tt = np.concatenate([*rows[some], none]), np.append(prior[some], scale)
        return posterior.local_variance(K_t, K_tt, columns)[:-1].reshape(-1, 3)

    return np.concatenate(list(ordered_map(variances, range(0, high - low, BATCH))))


def _add_atoms(c: _Centres, low: int, high: int, rows: np.ndarray, prior: np.ndarray) -> float:
    """Put K_tm into this block's columns of `rows`, add K_tt to `prior`; returns the largest φ'(1) Σ_i |d_i|²."""
    D, slope = _sorted_tangents(c, low, high)
    first = c.first[low : high + 1] - c.first[low]
    centre = c.centre[c.first[low] : c.first[high]]

    def add(start: int) -> float:
        """Rows and prior of `ROW_BLOCK` atoms; returns the largest Σ_i |d_i|² among them."""
        ends = first[start : start + ROW_BLOCK + 1]
        some = slice(start, start + len(ends) - 1)
        rows[some, :, c.block.columns] = _rows(c, D[ends[0] : ends[-1]], slope, centre, ends)
        largest = 0.0
        for r, own in enumerate(map(slice, ends, ends[1:]), start):
            Q, d = c.Q[centre[own]], D[own]
            prior[r] += _prior(c.term.kernel, Q, d, Q, d)
            largest = max(largest, float(np.vdot(d, d)))
        return largest

    squares = max(ordered_map(add, range(0, high - low, ROW_BLOCK)))
    return squares * c.term.kernel.value_and_slope(np.ones((1, 1)))[1].item()


def _sorted_tangents(c: _Centres, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Tangents of all moves by the atoms of ranks low to high (n, 3, n_features), and φ'(q_i·x_m) (n_centres, M)."""
    begin, end = c.first[low], c.first[high]
    D, slope = np.empty((end - begin, 3, c.Q.shape[1])), np.empty((len(c.Q), len(c.block.X)))
    moved = np.unique(c.centre[begin:end])

    def fill(which: np.ndarray) -> None:
        """Features, slopes and tangents of some centres, each into its place."""
        work, nb = thread_workspace(), c.nb.select(which)
        values, state = c.term.descriptor.evaluate(nb, c.numbers, work)
        Q, norm = normalise(values)
        c.Q[which], slope[which] = Q, c.term.kernel.value_and_slope(inner_products(Q, c.block.X, work))[1]
        tangents = c.term.descriptor.tangents(state, work)
        rows = (tangents.J, tangents.row_first, Q, norm, which)
        loops.sort_tangents(*rows, c.slot_first, c.place, begin, D, c.strain)

    for _ in ordered_map(fill, [moved[k : k + ROW_BLOCK] for k in range(0, len(moved), ROW_BLOCK)]):
        pass
    return D, slope


def _rows(c: _Centres, D: np.ndarray, slope: np.ndarray, centre: np.ndarray, first: np.ndarray) -> np.ndarray:
    """K_tm, shape (n, a, M), of n functionals whose tangents (and `centre`) begin at `first`; D begins at first[0]."""
    work, M = thread_workspace(), len(c.block.X)
    T = work.empty("T", D.shape[0], D.shape[1], M)
    _products(D, c.block.X, T)
    rows = work.empty("rows", len(first) - 1, D.shape[1], M)
    loops.sum_rows(T, slope, centre, first, rows)
    return rows


def _prior(kernel: Kernel, Q: np.ndarray, D: np.ndarray, Q_other: np.ndarray, D_other: np.ndarray) -> np.ndarray:
    """Σ_ii' [φ'' (d_i·q_i') (q_i·d_i') + φ' d_i·d_i'] of centres i and i', shape (a,).

    Parameters
    ----------
    Q, D : ndarray, shapes (n, n_features), (n, a, n_features)
        Normalised features and tangents of the centres i.
    Q_other, D_other
        Of the centres i'.
    """
    S = Q @ Q_other.T
    slope = kernel.value_and_slope(S)[1]
    B = _products(D, Q_other, np.empty((*D.shape[:2], len(Q_other))))
    B_other = B if D is D_other else _products(D_other, Q, np.empty((*D_other.shape[:2], len(Q))))
    WD = (slope @ D_other.reshape(len(D_other), D[:1].size)).reshape(D.shape)
    return np.asarray(loops.second_derivative(kernel.curvature(S), B, B_other, WD, D))


def _products(D: np.ndarray, X: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out = d·x of all tangents D (n, a, n_features) and rows X (m, n_features): (n, a, m), one matrix product."""
    n, n_components, n_features = D.shape
    np.matmul(D.reshape(n * n_components, n_features), X.T, out=out.reshape(n * n_components, len(X)))
    return out


def _strain_variances(
    centres: Sequence[_Centres], features: Sequence[_FeatureColumns], posterior: SparsePosterior
) -> np.ndarray:
    """Variances of ∂E/∂ε, shape (6,), from the features and strain derivatives kept in `centres`."""
    columns = _all_columns(centres, features)
    rows, prior = np.zeros((6, columns[-1].stop if columns else 0)), np.zeros(6)
    for c in centres:
        starts = range(0, len(c.Q), BATCH)
        rows[:, c.block.columns] = sum(ordered_map(partial(_strain_rows, c), starts))
        prior += sum(ordered_map(partial(_strain_prior, c), combinations_with_replacement(starts, 2)))
    for f in features:
        rows[:, f.columns] = f.delta * f.strain
        prior += np.einsum("vk,vk->v", f.strain, f.strain)
    return posterior.local_variance(rows, prior, columns)


def _strain_rows(c: _Centres, start: int) -> np.ndarray:
    """K_tm of the strains from the centres of one batch, shape (6, M)."""
    Q, D = c.Q[start : start + BATCH], c.strain[start : start + BATCH]
    slope = c.term.kernel.value_and_slope(inner_products(Q, c.block.X, thread_workspace()))[1]
    return _rows(c, D, slope, np.arange(len(Q)), np.array([0, len(Q)]))[0].copy()


def _strain_prior(c: _Centres, starts: tuple[int, int]) -> np.ndarray:
    """K_tt of the strains from one pair of batches of centres and, if they are two, the same pair turned round."""
    i, k = (slice(start, start + BATCH) for start in starts)
    part = _prior(c.term.kernel, c.Q[i], c.strain[i], c.Q[k], c.strain[k])
    return part if i == k else 2.0 * part
