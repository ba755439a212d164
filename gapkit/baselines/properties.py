"""What every baseline gives: energy, forces, strain derivative and local energies of one structure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.units import Bohr, Hartree

from gapkit.errors import InputError

COULOMB = Hartree * Bohr  # e²/(4πε₀), eV Å


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


def check_symbols(symbols: Iterable[str], where: str) -> None:
    """Raise `InputError` for the first of `symbols` that is no chemical symbol."""
    for symbol in symbols:
        if not isinstance(symbol, str) or atomic_numbers.get(symbol, 0) < 1:
            raise InputError(f"{where} has an unknown species {symbol!r}: write chemical symbols, such as Si.")


def unknown_species(numbers: np.ndarray, species: Iterable[str]) -> list[str]:
    """Symbols among the atomic numbers that `species` does not hold, by atomic number."""
    known = set(species)
    return [symbol for z in np.unique(numbers) if (symbol := chemical_symbols[z]) not in known]
