"""Energy, forces, strain derivative and local energies of one structure, from a potential or a part of one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Properties(NamedTuple):
    """Properties of one structure.

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

    @classmethod
    def zeros(cls, n_atoms: int) -> Properties:
        """All zero; the arrays may be added to."""
        return cls(0.0, np.zeros((n_atoms, 3)), np.zeros((3, 3)), np.zeros(n_atoms))

    def plus(self, other: Properties) -> Properties:
        """The sum of two parts of one potential."""
        return Properties(
            self.energy + other.energy,
            self.forces + other.forces,
            self.strain_derivative + other.strain_derivative,
            self.local_energies + other.local_energies,
        )
