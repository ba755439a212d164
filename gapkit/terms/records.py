"""Inputs and outputs of terms: blocks of functions, rows, parts of sums, functionals and their prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gapkit.geometry.neighbourhoods import Neighbourhoods

LocalVariance = Callable[[np.ndarray, np.ndarray, tuple[slice, ...]], np.ndarray]
"""`SparsePosterior.local_variance`: variances (n,) from rows K_t (n, n_columns) of some columns, priors K_tt (n,)."""


class SparseBlock(NamedTuple):
    """Functions of one term that were chosen together.

    Attributes
    ----------
    term : int
        Index into the list of terms.
    key : int
        The term's own name of the block: for a `Term` the atomic number of the central atoms.
    X : ndarray, shape (n, …)
        What defines the functions: for a `Term` the normalised features of the sparse points.
    columns : slice
        Where this block's weights stand among all weights.
    """

    term: int
    key: int
    X: np.ndarray
    columns: slice


class StructureRows(NamedTuple):
    """Rows of K_nm for one structure, in the kernel's units.

    Attributes
    ----------
    energy : ndarray, shape (n_columns,), eV²
    forces : ndarray, shape (3 n_atoms, n_columns), eV²/Å
        No rows where derivatives are not wanted.
    virial : ndarray, shape (6, n_columns), eV²; xx yy zz yz xz xy
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray

    @property
    def has_derivatives(self) -> bool:
        """Whether rows of forces and virial are wanted."""
        return len(self.forces) > 0


class Part(NamedTuple):
    """Contribution of one term at some centres of one species.

    Attributes
    ----------
    nb : Neighbourhoods
    e : ndarray, shape (n_centres,), eV
        Local energies.
    g : ndarray, shape (n_pairs, 3), eV/Å
        ∂E/∂D of each pair.
    columns : tuple of slice
        Functions that these centres touch.
    K : ndarray, shape (n_centres, n), eV²
        k(x_i, m) of these functions; empty, as the next, unless variances were asked for.
    k_ii : ndarray, shape (n_centres,), eV²
    """

    nb: Neighbourhoods
    e: np.ndarray
    g: np.ndarray
    columns: tuple[slice, ...]
    K: np.ndarray
    k_ii: np.ndarray


class Scatter(NamedTuple):
    """Sums for n sets of weights: local energies (n, n_atoms), forces (n, n_atoms, 3) and dE/dε (n, 3, 3)."""

    local_energies: np.ndarray
    forces: np.ndarray
    strain: np.ndarray


class Functionals(NamedTuple):
    """Functionals of one structure, and where each kind begins among the rows of all structures (-1: not wanted).

    Attributes
    ----------
    neighbourhoods : sequence of Neighbourhoods
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


class PriorSum(NamedTuple):
    """Prior of many functionals, to which terms add.

    Attributes
    ----------
    K_tt : ndarray, shape (n_rows, n_rows)
    largest_std : ndarray, shape (n_rows,)
        Standard deviation if all centres of a functional were fully correlated: never less than that of K_tt, and
        positive also where that vanishes by symmetry.
    """

    K_tt: np.ndarray
    largest_std: np.ndarray
