"""What every baseline gives: energy, forces, strain derivative and local energies of one structure."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from ase import Atoms


class BaselineProperties(NamedTuple):
    """What a baseline says of one structure.

    Attributes
    ----------
    energy : float, eV
        The sum of the local energies.
    forces : ndarray, shape (n_atoms, 3), eV/Å
    strain_derivative : ndarray, shape (3, 3), eV
        dE/dε, symmetric; the virial is its negative.
    local_energies : ndarray, shape (n_atoms,), eV
    """

    energy: float
    forces: np.ndarray
    strain_derivative: np.ndarray
    local_energies: np.ndarray

    def plus(self, other: BaselineProperties) -> BaselineProperties:
        """The sum of two baselines of one structure."""
        return BaselineProperties(
            self.energy + other.energy,
            self.forces + other.forces,
            self.strain_derivative + other.strain_derivative,
            self.local_energies + other.local_energies,
        )


class Baseline(Protocol):
    """Physics that is already known: subtracted from the labels before a fit, added to the predictions after it."""

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        ...

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if the atomic numbers hold a species that this baseline has no parameters for."""
        ...

    def evaluate(self, atoms: Atoms) -> BaselineProperties:
        """Energy, forces, strain derivative and local energies of a structure; `InputError` if it has none."""
        ...
