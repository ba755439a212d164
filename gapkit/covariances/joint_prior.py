"""Joint prior covariance K_tt of many functionals of many frames: energies, local energies, forces and virials at once.

A functional t of one frame is Σ_i a_ti e_i (energies) or Σ_i d_ti·∂f/∂q_i (derivatives; d are tangents of the
normalised features with the sign of the functional). With k = φ(s), s = q_i·q_i' (φ holds δ²), between any two frames

    value, value            Σ_ii' a_ti a_t'i' φ(s)
    value, derivative       Σ_ii' a_ti φ'(s) (q_i·d_t'i')
    derivative, derivative  Σ_ii' [ φ''(s) (d_ti·q_i') (q_i·d_t'i') + φ'(s) d_ti·d_t'i' ]

over pairs of centres of one term and species. The tangents of a few centres are laid out as one matrix over the
functionals that they touch, so that everything is matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from gapkit._numba.kernels import project_rows
from gapkit.covariances.rows import local_rows, n_columns, structure_rows
from gapkit.gaussian_process.kernels import Kernel, inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.terms.term import ALL_SPECIES, AnyTerm, SparseBlock, feature_blocks, kernel_term

CENTRES = 32  # centres of one frame that are one part: wide matrix products, and no tangents of far-away atoms


class Functionals(NamedTuple):
    """The functionals of one frame, and where each kind begins among the rows of all frames (-1: not wanted).

    Attributes
    ----------
    neighbourhoods : list of Neighbourhoods
        One per term, of all atoms.
    numbers : ndarray of int, shape (n_atoms,)
    energy, local_energies, forces, virial : int
        First of 1, n_atoms, 3 n_atoms and 6 rows; E, e_i, -∂E/∂r and -∂E/∂ε (xx yy zz yz xz xy).
    """

    neighbourhoods: Sequence[Neighbourhoods]
    numbers: np.ndarray
    energy: int = -1
    local_energies: int = -1
    forces: int = -1
    virial: int = -1

    @property
    def has_derivatives(self) -> bool:
        """Whether tangents are needed."""
        return self.forces >= 0 or self.virial >= 0


class Prior(NamedTuple):
    """Prior of all functionals.

    Attributes
    ----------
    K_tt : ndarray, shape (n_rows, n_rows)
    bound : ndarray, shape (n_rows,)
        Variance if the centres that a functional touches all moved together: never less than the diagonal of K_tt,
        and positive also where that vanishes by symmetry. It is the scale of round-off.
    """

    K_tt: np.ndarray
    bound: np.ndarray


class _Part(NamedTuple):
    """Some centres of one block and frame: which rows they touch, and how.

    Attributes
    ----------
    kernel : Kernel
    Q : ndarray, shape (n, n_features)
        Normalised features.
    value_rows, A : ndarray, shapes (V,), (V, n)
        Rows of energies and the weights a.
    slope_rows, D : ndarray, shapes (T,), (T, n, n_features)
        Rows of derivatives and their tangents d.
    """

    kernel: Kernel
    Q: np.ndarray
    value_rows: np.ndarray
    A: np.ndarray
    slope_rows: np.ndarray
    D: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All rows that the part touches, values first."""
        return np.concatenate([self.value_rows, self.slope_rows])


def K_tm(terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock], frames: Sequence[Functionals], n: int) -> np.ndarray:
    """Covariances of all functionals with the sparse points, shape (n, n_sparse)."""
    K = np.zeros((n, n_columns(blocks)))
    for f in frames:
        surroundings = (terms, blocks, f.neighbourhoods, f.numbers)
        if f.energy >= 0 or f.has_derivatives:
            rows = structure_rows(*surroundings, f.has_derivatives)
            for first, of_kind in ((f.energy, rows.energy[None]), (f.forces, rows.forces), (f.virial, rows.virial)):
                if first >= 0:
                    K[first : first + len(of_kind)] = of_kind
        if f.local_energies >= 0:
            K[f.local_energies : f.local_energies + len(f.numbers)] = local_rows(*surroundings)
    return K


def prior(terms: Sequence[AnyTerm], blocks: Sequence[SparseBlock], frames: Sequence[Functionals], n: int) -> Prior:
    """K_tt of all functionals with all cross terms, and the bound of its diagonal.

    Parameters
    ----------
    terms, blocks
        The fitted potential.
    frames : sequence of Functionals
    n : int
        Number of rows.

    Notes
    -----
    Memory: see `memory`. Operations: 2 T T' n_features per centre and pair of frames with T and T' derivatives, twice
    1.3e9 for 64 atoms with 252 features.
    """
    result = Prior(np.zeros((n, n)), np.zeros(n))
    bound = np.zeros(n)  # of the standard deviation, term by term and species by species
    for _, term, block in feature_blocks(terms, blocks):
        own = block._replace(columns=slice(0, term.n_columns(block.X)))
        rows = K_tm(terms, [own], frames, n) / term.delta
        np.add(result.K_tt, rows @ rows.T, out=result.K_tt)
        lengths = np.sqrt(np.einsum("tm,tm->t", rows, rows))
        bound += lengths + 1e-6 * lengths.max(initial=0.0)  # what vanishes by symmetry is round-off of what does not
    for block in blocks:
        if block.number == ALL_SPECIES:
            continue
        parts = list(ordered_map(lambda args: _part(terms, *args), _pieces([block], frames)))
        for part in parts:
            bound[part.rows] += _largest(part)
        pairs = list(combinations_with_replacement(parts, 2))
        for (p, q), K in zip(pairs, ordered_map(lambda pair: _pair(*pair), pairs)):
            result.K_tt[np.ix_(p.rows, q.rows)] += K
            if p is not q:
                result.K_tt[np.ix_(q.rows, p.rows)] += K.T
    return result._replace(bound=bound**2)


def memory(blocks: Sequence[SparseBlock], frames: Sequence[Functionals], n: int) -> int:
    """Bytes that `prior`, `K_tm` and the posterior of n rows take."""
    largest = 0
    for block in blocks:
        tangents = 0
        for _, f, nb in _pieces([block], frames):
            touched = len(np.union1d(nb.centres, nb.j)) if f.forces >= 0 else 0
            rows = 3 * touched + 6 * (f.virial >= 0)
            tangents += rows * len(nb.centres) * block.X.shape[1]
        largest = max(largest, tangents)
    return 8 * (largest + 4 * n * n + 3 * n * n_columns(blocks))


def _pieces(
    blocks: Sequence[SparseBlock], frames: Sequence[Functionals]
) -> Iterator[tuple[SparseBlock, Functionals, Neighbourhoods]]:
    """All (block, frame, at most `CENTRES` neighbourhoods of the block's species)."""
    for block in blocks:
        for f in frames:
            which = np.flatnonzero(f.numbers == block.number)
            for start in range(0, len(which), CENTRES):
                yield block, f, f.neighbourhoods[block.term].select(which[start : start + CENTRES])


def _part(terms: Sequence[AnyTerm], block: SparseBlock, f: Functionals, nb: Neighbourhoods) -> _Part:
    term = kernel_term(terms, block)
    values, state = term.descriptor.evaluate(nb, f.numbers)
    Q, norm = normalise(values)
    slope_rows, D = np.zeros(0, dtype=np.int64), np.zeros((0, *Q.shape))
    if f.has_derivatives:
        tangents = term.descriptor.tangents(state)
        project_rows(tangents.J, tangents.row_first, Q, norm)
        slope_rows, D = _laid_out(f, tangents.J, tangents.row_first, tangents.atom, tangents.slot_first)
    return _Part(term.kernel, Q, *_weights(f, nb.centres), slope_rows, D)


def _weights(f: Functionals, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the energies that `centres` belong to, and the weights A (V, n): one row of ones, and the identity."""
    rows, A = np.zeros(0, dtype=np.int64), np.zeros((0, len(centres)))
    if f.energy >= 0:
        rows, A = np.append(rows, f.energy), np.vstack([A, np.ones(len(centres))])
    if f.local_energies >= 0:
        rows, A = np.append(rows, f.local_energies + centres), np.vstack([A, np.eye(len(centres))])
    return rows, A


def _laid_out(
    f: Functionals, J: np.ndarray, row_first: np.ndarray, atom: np.ndarray, slot_first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the derivatives that the centres touch, and -J (order of `Tangents`) laid out as D (T, n, n_features)."""
    n, xyz, voigt = len(row_first) - 1, np.arange(3), np.arange(6)
    moved, slot = np.unique(atom, return_inverse=True)
    n_forces = 3 * len(moved) if f.forces >= 0 else 0
    D = np.zeros((n_forces + 6 * (f.virial >= 0), n, J.shape[1]))
    rows = [np.zeros(0, dtype=np.int64)]
    if f.forces >= 0:
        centre = np.repeat(np.arange(n), np.diff(slot_first))
        source = row_first[centre] + 3 * (np.arange(len(atom)) - slot_first[centre])
        D[3 * slot[:, None] + xyz, centre[:, None]] = -J[source[:, None] + xyz]
        rows.append((f.forces + 3 * moved[:, None] + xyz).ravel())
    if f.virial >= 0:
        D[n_forces + voigt, np.arange(n)[:, None]] = -J[row_first[1:, None] - 6 + voigt]
        rows.append(f.virial + voigt)
    return np.concatenate(rows), D


def _largest(part: _Part) -> np.ndarray:
    """Σ_i |a_i| φ(1)^½ and Σ_i |d_i| φ'(1)^½ of the part's rows: what the standard deviation can be at most."""
    value, slope = part.kernel.value_and_slope(np.ones((1, 1)))
    lengths = np.sqrt(np.einsum("tix,tix->ti", part.D, part.D)).sum(axis=1)
    return np.concatenate([part.A.sum(axis=1) * np.sqrt(value.item()), lengths * np.sqrt(slope.item())])


def _pair(p: _Part, q: _Part) -> np.ndarray:
    """What the centres of two parts add to K_tt[p.rows, q.rows]."""
    S = inner_products(p.Q, q.Q)
    value, slope = p.kernel.value_and_slope(S)
    B, C = p.D @ q.Q.T, q.D @ p.Q.T  # d_ti·q_i' (T, n, n') and q_i·d_t'i' (T', n', n)
    mixed = p.A @ np.einsum("ik,tki->it", slope, C), np.einsum("ik,tik->tk", slope, B) @ q.A.T
    return np.block([[p.A @ value @ q.A.T, mixed[0]], [mixed[1], _slopes(p, q, slope, p.kernel.curvature(S), B, C)]])


def _slopes(p: _Part, q: _Part, slope: np.ndarray, curvature: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Σ_ii' [φ'' B_tii' C_t'i'i + φ' d_ti·d_t'i'], shape (T, T')."""
    T, U = len(p.D), len(q.D)
    if T == 0 or U == 0:
        return np.zeros((T, U))
    moved = slope @ q.D  # Σ_i' φ' d_t'i', shape (T', n, n_features)
    bent = (curvature * B).reshape(T, -1) @ C.transpose(0, 2, 1).reshape(U, -1).T
    return np.asarray(bent + p.D.reshape(T, -1) @ moved.reshape(U, -1).T)
