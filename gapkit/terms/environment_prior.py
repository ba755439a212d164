"""Joint prior covariance of many functionals of environments: energies, local energies, forces and virials at once.

A functional t of one structure is Σ_i a_ti e_i (energies) or Σ_i d_ti·∂f/∂q_i (derivatives; d are tangents of the
normalised features with the sign of the functional). With k = φ(s), s = q_i·q_i' (φ holds δ²), between any two

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
from gapkit.descriptors.protocol import Descriptor
from gapkit.gaussian_process.kernels import Kernel, inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.terms.records import Functionals, PriorSum, SparseBlock

CENTRES = 32  # centres of one structure that are one part: wide matrix products, and no tangents of far-away atoms


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


def add_environment_prior(
    descriptor: Descriptor, kernel: Kernel, block: SparseBlock, functionals: Sequence[Functionals], total: PriorSum
) -> None:
    """Add the contribution of the centres of one block's species to K_tt and its bound.

    Operations: 2 T T' n_features per centre and pair of structures with T and T' derivatives, twice 1.3e9 for 64 atoms
    with 252 features.
    """
    pieces = _pieces(block, functionals)
    parts = list(ordered_map(lambda piece: _part(descriptor, kernel, *piece), pieces))
    for part in parts:
        total.largest_std[part.rows] += _largest(part)
    pairs = list(combinations_with_replacement(parts, 2))
    for (p, q), K in zip(pairs, ordered_map(lambda pair: _pair(*pair), pairs)):
        total.K_tt[np.ix_(p.rows, q.rows)] += K
        if p is not q:
            total.K_tt[np.ix_(q.rows, p.rows)] += K.T


def prior_bytes(block: SparseBlock, functionals: Sequence[Functionals]) -> int:
    """Bytes of the tangents of all centres of one block's species."""
    total = 0
    for f, nb in _pieces(block, functionals):
        touched = len(np.union1d(nb.centres, nb.j)) if f.forces >= 0 else 0
        rows = 3 * touched + 6 * (f.virial >= 0)
        total += rows * len(nb.centres) * block.X.shape[1]
    return 8 * total


def _pieces(block: SparseBlock, functionals: Sequence[Functionals]) -> Iterator[tuple[Functionals, Neighbourhoods]]:
    """All structures, at most `CENTRES` neighbourhoods of the block's species at a time."""
    for f in functionals:
        which = np.flatnonzero(f.numbers == block.key)
        for start in range(0, len(which), CENTRES):
            yield f, f.neighbourhoods[block.term].select(which[start : start + CENTRES])


def _part(descriptor: Descriptor, kernel: Kernel, f: Functionals, nb: Neighbourhoods) -> _Part:
    values, state = descriptor.evaluate(nb, f.numbers)
    Q, norm = normalise(values)
    slope_rows, D = np.zeros(0, dtype=np.int64), np.zeros((0, *Q.shape))
    if f.has_derivatives:
        tangents = descriptor.tangents(state)
        project_rows(tangents.J, tangents.row_first, Q, norm)
        slope_rows, D = _laid_out(f, tangents.J, tangents.row_first, tangents.atom, tangents.slot_first)
    return _Part(kernel, Q, *_weights(f, nb.centres), slope_rows, D)


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
    """Σ_i |a_i| φ(1)^½ and Σ_i |d_i| φ'(1)^½ of the part's rows: upper bounds of the standard deviations."""
    value, slope = part.kernel.value_and_slope(np.ones((1, 1)))
    lengths = np.sqrt(np.einsum("tix,tix->ti", part.D, part.D)).sum(axis=1)
    return np.concatenate([part.A.sum(axis=1) * np.sqrt(value.item()), lengths * np.sqrt(slope.item())])


def _pair(p: _Part, q: _Part) -> np.ndarray:
    """Contribution of the centres of two parts to K_tt[p.rows, q.rows]."""
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
