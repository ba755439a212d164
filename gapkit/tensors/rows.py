"""A structure seen by the sparse points: rows of K_nm for every spherical order, means, and their derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from gapkit._numba.kernels import pair_forces
from gapkit.descriptors.lambda_soap import Order, density_cotangent, equivariants, position_gradients
from gapkit.descriptors.soap import SOAPState
from gapkit.gaussian_process import tensor_kernels as kernels
from gapkit.gaussian_process.tensor_kernels import TensorPoints
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.runtime.workspace import thread_workspace
from gapkit.tensors.term import TensorTerm

TOGETHER = 64  # centres evaluated at one time
KEPT_BYTES = 2**26  # equivariant features of one structure that are kept for its mean, rows and prior


class TensorBlock(NamedTuple):
    """Sparse points of one term for one species of central atom.

    Attributes
    ----------
    term, number : int
        Index of the term; atomic number.
    Q : ndarray, shape (n_sparse, n_scalar)
        Normalised scalar features.
    V : mapping of Order to ndarray, shape (n_sparse, 2λ + 1, n_features)
    """

    term: int
    number: int
    Q: np.ndarray
    V: Mapping[Order, np.ndarray]

    def points(self, order: Order) -> TensorPoints:
        """What the kernel of an order sees."""
        return TensorPoints(self.Q, self.V[order])


class Columns(NamedTuple):
    """Where the sparse points of one order stand: its blocks, and the slice of weights of each."""

    order: Order
    blocks: tuple[TensorBlock, ...]
    slices: tuple[slice, ...]

    @property
    def n(self) -> int:
        """Number of columns."""
        return self.slices[-1].stop if self.slices else 0


class Centres(NamedTuple):
    """Some centres of one species as one term sees them."""

    which: np.ndarray
    points: TensorPoints
    norm: np.ndarray
    state: SOAPState


def columns_of(blocks: Sequence[TensorBlock], order: Order) -> Columns:
    """The columns of one order, term after term, species after species, m before μ."""
    own = tuple(block for block in blocks if order in block.V)
    ends = np.cumsum([len(block.Q) * order.size for block in own], dtype=int).tolist()
    return Columns(order, own, tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends)))


def covariance_of_columns(
    columns: Columns, terms: Sequence[TensorTerm], deltas: np.ndarray, jitter: float
) -> np.ndarray:
    """K_mm, block after block, (n, n); `deltas` are amplitudes by term.

    The jitter is relative to the mean variance of a block and the same for all its columns: then it does not turn, as
    one relative to each element would, and components that symmetry makes zero, round-off itself, stay without effect.
    """
    K = np.zeros((columns.n, columns.n))
    for block, own in zip(columns.blocks, columns.slices):
        points, size = block.points(columns.order), own.stop - own.start
        K_own = kernels.kernel_rows(points, points, terms[block.term].zeta).reshape(size, size)
        K_own = 0.5 * (K_own + K_own.T)
        K_own[np.diag_indices(size)] += jitter * np.trace(K_own) / size
        K[own, own] = deltas[block.term] ** 2 * K_own
    return K


def scales(columns: Columns, deltas: np.ndarray) -> np.ndarray:
    """δ² of every column."""
    return np.concatenate(
        [np.full(own.stop - own.start, deltas[b.term] ** 2) for b, own in zip(columns.blocks, columns.slices)]
    )


class Structure:
    """One structure: neighbourhoods of every cutoff once, features of every term, species and order when asked for."""

    def __init__(self, terms: Sequence[TensorTerm], atoms: Atoms) -> None:
        self.terms, self.numbers, self.n_atoms = terms, atoms.numbers, len(atoms)
        self._found: dict[float, Neighbourhoods] = {}
        self._kept: dict[tuple[int, int, Order], list[Centres]] = {}
        self._free = KEPT_BYTES
        for cutoff in sorted({term.descriptor.cutoff for term in terms}, reverse=True):
            self._found[cutoff] = find_neighbourhoods(atoms, cutoff)

    def centres(self, term: int, number: int, order: Order | None) -> Iterator[Centres]:
        """Centres of one species, a few at a time; without an order V is empty. Of small structures they are kept."""
        key = (term, number, order or Order(-1, True))
        if key in self._kept:
            yield from self._kept[key]
            return
        found: list[Centres] = []
        for part in self._evaluate(term, number, order):
            found.append(part)
            self._free -= part.points.Q.nbytes + part.points.V.nbytes + part.state.c.nbytes
            if self._free < 0:
                found = []
            yield part
        if self._free >= 0:
            self._kept[key] = found

    def _evaluate(self, term: int, number: int, order: Order | None) -> Iterator[Centres]:
        soap = self.terms[term].descriptor
        nb = self._found[soap.cutoff]
        own = np.flatnonzero(self.numbers == number)
        for start in range(0, len(own), TOGETHER):
            which = own[start : start + TOGETHER]
            p, state = soap.evaluate(nb.select(which), self.numbers)
            V = np.empty((len(which), 0, 0))
            if order is not None:
                V = equivariants(soap, state, order, thread_workspace())
            points, norm = kernels.tensor_points(p, V)
            yield Centres(which, points, norm, state)

    def _weight(self, of: str) -> float:
        return 1.0 / self.n_atoms if of == "mean" else 1.0

    def rows(self, columns: Columns, of: str) -> np.ndarray:
        """K_nm for δ = 1: (2λ + 1, n_columns) of a sum or mean, (n_atoms, 2λ + 1, n_columns) of atoms."""
        size, order = columns.order.size, columns.order
        K = np.zeros((self.n_atoms, size, columns.n) if of == "atom" else (size, columns.n))
        for block, own in zip(columns.blocks, columns.slices):
            zeta, sparse = self.terms[block.term].zeta, block.points(order)
            for centres in self.centres(block.term, block.number, order):
                if of == "atom":
                    rows = kernels.kernel_rows(centres.points, sparse, zeta)
                    K[centres.which, :, own] = rows.reshape(len(centres.which), size, -1)
                else:
                    K[:, own] += kernels.summed_rows(centres.points, sparse, zeta)
        return K * self._weight(of)

    def prior(self, columns: Columns, of: str, deltas: np.ndarray) -> np.ndarray:
        """Prior covariance: (2λ + 1, 2λ + 1) of a sum or mean, (n_atoms, 2λ + 1, 2λ + 1) of atoms."""
        size, order = columns.order.size, columns.order
        K = np.zeros((self.n_atoms, size, size) if of == "atom" else (size, size))
        for block in columns.blocks:
            found = list(self.centres(block.term, block.number, order))
            if of == "atom":
                for centres in found:
                    K[centres.which] += deltas[block.term] ** 2 * kernels.own_covariances(centres.points)
            elif found:
                parts = [TensorPoints(c.points.Q, c.points.V) for c in found]
                K += deltas[block.term] ** 2 * kernels.covariance_of_sum(parts, self.terms[block.term].zeta)
        return K * self._weight(of) ** 2

    def means(self, columns: Columns, weights: Sequence[np.ndarray]) -> np.ndarray:
        """Σ_m K_im α_m of every atom, (n_atoms, 2λ + 1); `weights` are those of `weights_of`."""
        y = np.zeros((self.n_atoms, columns.order.size))
        for block, w in zip(columns.blocks, weights):
            for centres in self.centres(block.term, block.number, columns.order):
                y[centres.which] += kernels.mean(centres.points, block.Q, w, self.terms[block.term].zeta)[0]
        return y

    def gradients(self, columns: Columns, weights: Sequence[np.ndarray], of: str) -> np.ndarray:
        """Derivatives of a sum or mean by all positions, (2λ + 1, n_atoms, 3), 1/Å."""
        forces = np.zeros((columns.order.size, self.n_atoms, 3))
        for block, w in zip(columns.blocks, weights):
            term = self.terms[block.term]
            for centres in self.centres(block.term, block.number, columns.order):
                _, A = kernels.mean(centres.points, block.Q, w, term.zeta)
                for component in range(columns.order.size):
                    self._add_forces(term, block, w, centres, A, columns.order, component, forces[component])
        return -forces * self._weight(of)

    def _add_forces(
        self,
        term: TensorTerm,
        block: TensorBlock,
        w: np.ndarray,
        centres: Centres,
        A: np.ndarray,
        order: Order,
        component: int,
        forces: np.ndarray,
    ) -> None:
        """Minus the derivatives of one component."""
        bars = kernels.mean_cotangents(centres.points, centres.norm, block.Q, w, term.zeta, A, component)
        soap, state = term.descriptor, centres.state
        c_bar = density_cotangent(soap, state, bars[0], order, component, bars[1], thread_workspace())
        g, nb = position_gradients(soap, state, c_bar), state.neighbourhoods
        pair_forces(nb.centres, nb.first, nb.j, nb.D, g, forces, np.zeros((3, 3)))


def weights_of(columns: Columns, deltas: np.ndarray, alpha: np.ndarray) -> list[np.ndarray]:
    """w_m of every block, δ² included: what `Structure.means` takes."""
    return [
        deltas[block.term] ** 2 * kernels.weighted(block.points(columns.order), alpha[own])
        for block, own in zip(columns.blocks, columns.slices)
    ]
