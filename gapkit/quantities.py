"""The labelled quantities: names, units, numbers of rows and the order of components.

A quantity has two names. It is fitted as a sum over, or a derivative of, the local energies (energy, forces, *virial*),
and compared with its label in the unit in which errors are quoted (energy per atom, forces, *stress* = -virial/V).
Voigt order is xx yy zz yz xz xy, as ASE has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

Size = TypeVar("Size", int, float)


@dataclass(frozen=True)
class Quantity:
    """One quantity that structures are labelled with.

    Attributes
    ----------
    label : {"energy", "forces", "virial"}
        Its name in a fit.
    compared : {"energy", "forces", "stress"}
        Its name in an evaluation.
    title, plural, values : str
        As a heading ("Energy"), of many ("energies"), and of their single numbers ("force components").
    noise_unit : str
        Unit of the noise of its labels.
    unit : str
        Unit in which labels and predictions are compared.
    quoted_unit, quoted : str, float
        Unit in which errors are quoted, and what one `unit` is in it.
    """

    label: str
    compared: str
    title: str
    plural: str
    values: str
    noise_unit: str
    unit: str
    quoted_unit: str
    quoted: float = 1.0

    def n_rows(self, n_atoms: Size) -> Size:
        """Numbers that a label of a structure of `n_atoms` (or of that many on average) consists of."""
        return type(n_atoms)(1 if self.label == "energy" else 6 if self.label == "virial" else 3 * n_atoms)


QUANTITIES = (
    Quantity("energy", "energy", "Energy", "energies", "energies", "eV/atom", "eV/atom", "meV/atom", 1000.0),
    Quantity("forces", "forces", "Forces", "forces", "force components", "eV/Å", "eV/Å", "eV/Å"),
    Quantity("virial", "stress", "Stress", "stresses", "stress components", "eV/atom", "GPa", "GPa"),
)
FITTED: Mapping[str, Quantity] = MappingProxyType({quantity.label: quantity for quantity in QUANTITIES})
COMPARED: Mapping[str, Quantity] = MappingProxyType({quantity.compared: quantity for quantity in QUANTITIES})

KINDS = tuple(FITTED)
UNITS: Mapping[str, str] = MappingProxyType({label: quantity.noise_unit for label, quantity in FITTED.items()})
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
COULOMB = 14.399645351950548  # e²/(4πε₀), eV Å (CODATA 2014, as in ASE)
