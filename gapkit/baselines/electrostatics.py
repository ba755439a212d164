"""Electrostatics of fixed charges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from pydantic import Field

from gapkit.checks import check_fields
from gapkit.errors import InputError
from gapkit.geometry.lattice_sums import check_periodicity, lattice_sums
from gapkit.quantities import COULOMB
from gapkit.structures.properties import Properties
from gapkit.structures.species import check_symbols, unknown_species

NEUTRAL = 1e-6  # e per atom: what rounded charges leave


@dataclass(frozen=True)
class Ewald:
    """Coulomb energy of one charge per species, e²/(4πε₀) · ½ Σ_ij q_i q_j / r_ij over all images.

    Three-dimensional cells are summed by Ewald's method with conducting boundary conditions (no depolarising field)
    and must be neutral. Molecules are summed directly. Slabs and wires are refused.

    Parameters
    ----------
    charges : mapping of str to float
        By symbol, in elementary charges. Distant atoms of an insulator interact by their Born effective charges
        over √ε∞, both of the reference method; larger ones leave a long-ranged rest.
    width : float
        Å. Standard deviation of Gaussian charge clouds: 1/r becomes erf(r/(2 width))/r. 0 is point charges, whose
        attraction is unbounded.
    tolerance : float
        Of the sums, as in `lattice_sums`.
    """

    charges: Mapping[str, float]
    width: Annotated[float, Field(ge=0, description="0 is point charges")] = 0.0
    tolerance: Annotated[float, Field(ge=1e-14, le=1e-3, description="1e-10 is usual")] = 1e-10

    def validate(self) -> None:
        """Raise `InputError` for unknown species, non-numeric charges, and an impossible width or tolerance."""
        if not isinstance(self.charges, Mapping) or not self.charges:
            raise InputError(f"Ewald's charges = {self.charges!r} must map symbols to charges, as {{'Na': 1.0}}.")
        check_symbols(self.charges, "Ewald")
        check_fields(self)

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if `numbers` holds a species without a charge."""
        if unknown := unknown_species(numbers, self.charges):
            raise InputError(
                f"the structure holds {', '.join(unknown)} but Ewald's charges are for {', '.join(self.charges)}: "
                f"add {', '.join(unknown)} to Ewald(charges=…), 0 if neutral."
            )

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces, strain derivative and local energies (½ q_i times the potential at i) of a structure.

        Raises
        ------
        InputError
            For a species without a charge, a charged cell, partial periodicity, and as `find_neighbourhoods`.
        """
        self.check_species(atoms.numbers)
        check_periodicity(atoms, "Ewald")
        distinct, inverse = np.unique(atoms.numbers, return_inverse=True)
        q = np.array([float(self.charges[chemical_symbols[z]]) for z in distinct])[inverse]
        if atoms.pbc.any() and abs(q.sum()) > NEUTRAL * len(atoms):
            raise InputError(
                f"the periodic cell {atoms.get_chemical_formula()} has the charge {q.sum():.6g} e: give charges that "
                "add up to zero, or pbc=False to isolated atoms and molecules."
            )
        kinds = np.zeros(len(atoms), dtype=np.int64)
        sums = lattice_sums(atoms, q, kinds, 1, 1, np.sqrt(2.0) * self.width, self.tolerance)
        local = 0.5 * COULOMB * q * sums.potential[:, 0]
        forces = -COULOMB * q[:, None] * sums.gradient[:, 0]
        return Properties(float(local.sum()), forces, COULOMB * sums.strain[0, 0], local)
