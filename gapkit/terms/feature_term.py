"""What a term is that has features of a structure instead of a descriptor and a kernel.

    E_t = Σ_k w_k φ_k,   w ~ N(0, δ² I),   φ_k = Σ_i φ_ik

so that K_mm = δ² I and the rows of K_nm are δ² times the functionals of φ. The prior covariance of two functionals is
δ² φ_t·φ_t': what the features do not span has no variance. Sparse points, posterior and evidence see columns as of any
other term.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers

from gapkit._numba.kernels import pair_forces
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map

NAMED = 6  # in sentences
BLOCK = 256  # centres that one thread does together

Key = tuple[int, ...]
Candidates = Mapping[Key, np.ndarray]


class FeatureRows(NamedTuple):
    """Features of one structure and minus their derivatives, for δ = 1.

    Attributes
    ----------
    local : ndarray, shape (n_atoms, n_columns)
        φ_ik, each atom's share; the energy row is the sum.
    forces : ndarray, shape (3 n_atoms, n_columns), 1/Å
        -∂φ/∂r; no rows if they were not asked for.
    virial : ndarray, shape (6, n_columns)
        -∂φ/∂ε, xx yy zz yz xz xy.
    """

    local: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class FeatureValues(NamedTuple):
    """Σ_k w_k φ_k of one structure.

    Attributes
    ----------
    local_energies : ndarray, shape (n_atoms,), eV
    forces : ndarray, shape (n_atoms, 3), eV/Å
    strain_derivative : ndarray, shape (3, 3), eV
        dE/dε; its symmetric part counts.
    """

    local_energies: np.ndarray
    forces: np.ndarray
    strain_derivative: np.ndarray


class FeatureTerm(ABC):
    """A term E_t = Σ_k w_k φ_k(structure) with the prior w ~ N(0, δ² I)."""

    delta: float

    @property
    @abstractmethod
    def reach(self) -> float | None:
        """Radius of the neighbourhoods that it wants, Å; None for a function of the whole structure."""

    @abstractmethod
    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""

    @abstractmethod
    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the term does not know."""

    def candidates(self, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Candidates:
        """What one structure offers for the choice of sparse points, by atomic numbers."""
        return {}

    def merge(self, a: Candidates, b: Candidates) -> Candidates:
        """Candidates of two sets of structures as those of both, in bounded memory."""
        return {key: self._merged([x[key] for x in (a, b) if key in x]) for key in sorted({*a, *b})}

    def _merged(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """What stays of the candidates of one key."""
        return np.concatenate(found)

    def unmet(self, found: Candidates) -> str:
        """What the term cannot learn, because no structure has it, and what it says of it; empty if all is there."""
        return ""

    @abstractmethod
    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """What defines the columns, an array X to be stored with the model, from the candidates of all structures."""

    @abstractmethod
    def n_columns(self, X: np.ndarray) -> int:
        """Number of features φ_k."""

    @abstractmethod
    def rows(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Features of one structure; force and virial rows are zero unless `derivatives`."""

    @abstractmethod
    def fold(self, X: np.ndarray, weights: np.ndarray) -> Any:
        """Σ_k w_k φ_k in the form that is cheapest to evaluate."""

    @abstractmethod
    def evaluate(self, fold: Any, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> FeatureValues:
        """Local energies, forces and strain derivative of a `fold`."""


def sum_pairs(
    contribution: Callable[[Neighbourhoods], tuple[np.ndarray, np.ndarray]], neighbourhoods: Neighbourhoods
) -> FeatureValues:
    """Energies and forces from a function that gives the local energies and pair gradients of some centres."""
    n, n_atoms = len(neighbourhoods.centres), neighbourhoods.n_atoms
    values = FeatureValues(np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3)))
    parts = (neighbourhoods.select(np.arange(start, min(start + BLOCK, n))) for start in range(0, n, BLOCK))
    for nb, (e, g) in ordered_map(lambda nb: (nb, contribution(nb)), parts):
        values.local_energies[nb.centres] += e
        pair_forces(nb.centres, nb.first, nb.j, nb.D, g, values.forces, values.strain_derivative)
    return values


def some_names(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def species_index(species: Sequence[str]) -> np.ndarray:
    """Position in `species` sorted by atomic number, by atomic number; -1 for all others."""
    index = np.full(len(atomic_numbers), -1, dtype=np.int64)
    index[sorted(atomic_numbers[s] for s in species)] = np.arange(len(species))
    return index
