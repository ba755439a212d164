"""Term = descriptor + kernel + its sparse points; a potential is a sum of terms, and this room evaluates it.

Two seams meet here. Forwards, (i, j, D) goes in and (local energies, pair gradients g_ij) comes out; everything with
forces in it (ASE, LAMMPS, tests) is built on that. The fitted form of a term is one `SparseBlock` per species of the
central atom, because atoms compare only with sparse points of their own species.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple

import numpy as np
from ase import Atoms

from gapkit._numba import kernels as loops
from gapkit.descriptors.soap import SOAP, SOAPState
from gapkit.errors import InputError
from gapkit.kernels import DotProduct, Kernel, contract_gradient, points
from gapkit.neighbourhoods import Neighbourhoods, find_neighbourhoods

BLOCK = 128  # centres evaluated together: large enough for matrix products, small enough for the cache


@dataclass(frozen=True)
class Term:
    """One additive part of a potential: Σ_i f(x_i) with f a Gaussian process.

    Parameters
    ----------
    descriptor : SOAP
        What an atom's surroundings look like.
    kernel : DotProduct or SquaredExponential
        How alike two of them are.
    n_sparse : int or mapping of str to int
        Number of sparse points (inducing points) for each species, or one number per symbol.
    sparsification : {"fps", "cur", "kmeans", "random"}
        How they are chosen among the training environments.
    """

    descriptor: SOAP
    kernel: Kernel = field(default_factory=DotProduct)
    n_sparse: int | Mapping[str, int] = 1000
    sparsification: str = "fps"

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        self.descriptor.validate()
        self.kernel.validate()
        counts = self.n_sparse.values() if isinstance(self.n_sparse, Mapping) else [self.n_sparse]
        for n in counts:
            if not isinstance(n, Real) or not n >= 1 or n % 1 != 0:
                raise InputError(f"n_sparse = {self.n_sparse} must be a positive whole number (500 to 4000 is usual).")


class SparseBlock(NamedTuple):
    """Sparse points of one term for one species of central atom.

    Attributes
    ----------
    term : int
        Index into the list of terms.
    number : int
        Atomic number of the central atoms.
    X : ndarray, shape (n_sparse, n_features)
        Normalised features of the sparse points.
    columns : slice
        Where this block's weights stand among all weights.
    """

    term: int
    number: int
    X: np.ndarray
    columns: slice


class Properties(NamedTuple):
    """Local energies (n_atoms,) eV, forces (n_atoms, 3) eV/Å and dE/dε (3, 3) eV of one structure."""

    local_energies: np.ndarray
    forces: np.ndarray
    strain_derivative: np.ndarray


def find_all_neighbourhoods(terms: Sequence[Term], atoms: Atoms) -> list[Neighbourhoods]:
    """One `Neighbourhoods` per term; terms with the same cutoff share it."""
    found: dict[float, Neighbourhoods] = {}
    for term in terms:
        cutoff = term.descriptor.cutoff
        if cutoff not in found:
            found[cutoff] = find_neighbourhoods(atoms, cutoff)
    return [found[term.descriptor.cutoff] for term in terms]


def centre_blocks(
    terms: Sequence[Term],
    blocks: Sequence[SparseBlock],
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
    size: int = BLOCK,
) -> Iterator[tuple[SparseBlock, Term, Neighbourhoods, np.ndarray, SOAPState]]:
    """Walk through all (sparse block, group of at most `size` centres of its species) with features and state."""
    for block in blocks:
        term, all_centres = terms[block.term], neighbourhoods[block.term]
        which = np.flatnonzero(numbers[all_centres.centres] == block.number)
        for start in range(0, len(which), size):
            nb = all_centres.select(which[start : start + size])
            values, state = term.descriptor.evaluate(nb, numbers)
            yield block, term, nb, values, state


def evaluate(
    terms: Sequence[Term],
    blocks: Sequence[SparseBlock],
    alpha: np.ndarray,
    neighbourhoods: Sequence[Neighbourhoods],
    numbers: np.ndarray,
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
    """
    n_atoms = len(numbers)
    result = Properties(np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3)))
    for block, term, nb, values, state in centre_blocks(terms, blocks, neighbourhoods, numbers):
        e, x_bar = contract_gradient(term.kernel, *points(values), block.X, alpha[block.columns])
        g = term.descriptor.pullback(state, x_bar)
        result.local_energies[nb.centres] += e
        loops.pair_forces(nb.centres, nb.first, nb.j, nb.D, g, result.forces, result.strain_derivative)
    strain = result.strain_derivative
    return result._replace(strain_derivative=0.5 * (strain + strain.T))
