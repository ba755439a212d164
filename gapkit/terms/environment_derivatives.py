"""Covariances of forces and strain derivatives: mixed second derivatives of the kernel, summed over centres.

The derivative of the energy with respect to t (a coordinate of atom j, or a strain) is Σ_i ∂k(x_i, ·)/∂t over the
centres i that t moves. With k = φ(s), s = q_i·q_i' (φ holds δ²) and tangents d_i = ∂q_i/∂t of the normalised features,
so that ∂s/∂t = d_i·q_i' on the left, q_i·d_i' on the right and ∂²s/∂t∂t' = d_i·d_i',

    K_tt = Σ_ii' [ φ''(s) (d_i·q_i') (q_i·d_i') + φ'(s) d_i·d_i' ],   K_tm = Σ_i φ'(q_i·x_m) d_i·x_m

over pairs of one term and species. An atom moves itself and its neighbours, a strain moves all. Tangents are computed
once, centre by centre, and sorted by the atom that moves: those of one atom are then one matrix.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from gapkit._numba import derivative_variance as loops
from gapkit.descriptors.protocol import Descriptor
from gapkit.descriptors.tangents import neighbour_slots
from gapkit.gaussian_process.kernels import Kernel, inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.runtime.workspace import thread_workspace
from gapkit.terms.environment_sums import ROW_BLOCK
from gapkit.terms.records import SparseBlock

BATCH = 128  # centres whose strains are done in one product


class MovedCentres(NamedTuple):
    """All centres of one sparse block, and which atoms move them, sorted by the atom's rank.

    Attributes
    ----------
    descriptor, kernel, block, nb, numbers
        Whose centres, their neighbourhoods, atomic numbers of all atoms.
    slot_first : ndarray of int, shape (n_centres + 1,)
    place : ndarray of int, shape (n_moves,)
        Where each slot (order of `Tangents`) stands in the sorted order.
    centre : ndarray of int, shape (n_moves,)
        Centre of each move in the sorted order.
    first : ndarray of int, shape (n_atoms + 1,)
        Moves by the atom of rank r are ``first[r]:first[r + 1]``.
    Q, strain : ndarray, shapes (n_centres, n_features), (n_centres, 6, n_features)
        Normalised features and their derivatives by strain, filled in by `add_atoms`.
    """

    descriptor: Descriptor
    kernel: Kernel
    block: SparseBlock
    nb: Neighbourhoods
    numbers: np.ndarray
    slot_first: np.ndarray
    place: np.ndarray
    centre: np.ndarray
    first: np.ndarray
    Q: np.ndarray
    strain: np.ndarray

    @classmethod
    def of(
        cls,
        descriptor: Descriptor,
        kernel: Kernel,
        block: SparseBlock,
        neighbourhoods: Neighbourhoods,
        numbers: np.ndarray,
        order: np.ndarray,
    ) -> MovedCentres:
        """Centres of the block's species; `order` (n_atoms,) lists the atoms by rank."""
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        nb = neighbourhoods.select(np.flatnonzero(numbers[neighbourhoods.centres] == block.key))
        _, _, atom, slot_first = neighbour_slots(nb)
        by_atom = np.argsort(rank[atom], kind="stable")
        place = np.empty_like(by_atom)
        place[by_atom] = np.arange(len(by_atom))
        centre = np.repeat(np.arange(len(nb.centres)), np.diff(slot_first))[by_atom]
        first = np.searchsorted(rank[atom][by_atom], np.arange(len(order) + 1))
        n, n_features = len(nb.centres), block.X.shape[1]
        features = np.empty((n, n_features)), np.empty((n, 6, n_features))
        return cls(descriptor, kernel, block, nb, numbers, slot_first, place, centre, first, *features)

    @property
    def columns(self) -> tuple[slice, ...]:
        """Columns of the block."""
        return (self.block.columns,)

    def memory(self) -> np.ndarray:
        """Bytes of the tangents of atoms of rank below 0, 1, …, shape (n_atoms + 1,)."""
        return 24 * self.first * self.Q.shape[1]

    def add_atoms(self, low: int, high: int, rows: np.ndarray, prior: np.ndarray) -> float:
        """∂E/∂r of the atoms of ranks low to high: K_tm into `rows` (n, 3, n_columns), K_tt onto `prior` (n, 3).

        Returns the largest φ'(1) Σ_i |d_i|².
        """
        D, slope = _sorted_tangents(self, low, high)
        first = self.first[low : high + 1] - self.first[low]
        centre = self.centre[self.first[low] : self.first[high]]

        def add(start: int) -> float:
            """Rows and prior of `ROW_BLOCK` atoms; returns the largest Σ_i |d_i|² among them."""
            ends = first[start : start + ROW_BLOCK + 1]
            some = slice(start, start + len(ends) - 1)
            rows[some, :, self.block.columns] = _rows(self, D[ends[0] : ends[-1]], slope, centre, ends)
            largest = 0.0
            for r, own in enumerate(map(slice, ends, ends[1:]), start):
                Q, d = self.Q[centre[own]], D[own]
                prior[r] += _prior(self.kernel, Q, d, Q, d)
                largest = max(largest, float(np.vdot(d, d)))
            return largest

        squares = max(ordered_map(add, range(0, high - low, ROW_BLOCK)))
        return squares * self.kernel.value_and_slope(np.ones((1, 1)))[1].item()

    def add_strains(self, rows: np.ndarray, prior: np.ndarray) -> None:
        """∂E/∂ε from the features and strain derivatives that `add_atoms` has kept."""
        starts = range(0, len(self.Q), BATCH)
        rows[:, self.block.columns] = sum(ordered_map(partial(_strain_rows, self), starts))
        prior += sum(ordered_map(partial(_strain_prior, self), combinations_with_replacement(starts, 2)))


def _sorted_tangents(c: MovedCentres, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Tangents of all moves by the atoms of ranks low to high (n, 3, n_features), and φ'(q_i·x_m) (n_centres, M)."""
    begin, end = c.first[low], c.first[high]
    D, slope = np.empty((end - begin, 3, c.Q.shape[1])), np.empty((len(c.Q), len(c.block.X)))
    moved = np.unique(c.centre[begin:end])

    def fill(which: np.ndarray) -> None:
        """Features, slopes and tangents of some centres, each into its place."""
        work, nb = thread_workspace(), c.nb.select(which)
        values, state = c.descriptor.evaluate(nb, c.numbers, work)
        Q, norm = normalise(values)
        c.Q[which], slope[which] = Q, c.kernel.value_and_slope(inner_products(Q, c.block.X, work))[1]
        tangents = c.descriptor.tangents(state, work)
        rows = (tangents.J, tangents.row_first, Q, norm, which)
        loops.sort_tangents(*rows, c.slot_first, c.place, begin, D, c.strain)

    for _ in ordered_map(fill, [moved[k : k + ROW_BLOCK] for k in range(0, len(moved), ROW_BLOCK)]):
        pass
    return D, slope


def _rows(c: MovedCentres, D: np.ndarray, slope: np.ndarray, centre: np.ndarray, first: np.ndarray) -> np.ndarray:
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


def _strain_rows(c: MovedCentres, start: int) -> np.ndarray:
    """K_tm of the strains from the centres of one batch, shape (6, M)."""
    Q, D = c.Q[start : start + BATCH], c.strain[start : start + BATCH]
    slope = c.kernel.value_and_slope(inner_products(Q, c.block.X, thread_workspace()))[1]
    return _rows(c, D, slope, np.arange(len(Q)), np.array([0, len(Q)]))[0].copy()


def _strain_prior(c: MovedCentres, starts: tuple[int, int]) -> np.ndarray:
    """K_tt of the strains from one pair of batches of centres and, if they differ, from the pair in reverse order."""
    i, k = (slice(start, start + BATCH) for start in starts)
    part = _prior(c.kernel, c.Q[i], c.strain[i], c.Q[k], c.strain[k])
    return part if i == k else 2.0 * part
