"""Electrostatics and dispersion that a fit learns: lattice sums of 1/r and 1/r⁶ as features of a linear term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from gapkit.errors import InputError
from gapkit.feature_terms.linear import VOIGT, Features, feature_function
from gapkit.long_range import LongRangeFeatures


@feature_function
@dataclass(frozen=True)
class LongRange(LongRangeFeatures):
    """Sums of damped 1/r and 1/r⁶ over all images for each pair of species: ``Linear(LongRange(["Na", "Cl"]), 15.0)``.

    The coefficients are e²/(4πε₀) q_A q_B = 14.4 eV Å · q_A q_B for 1/r and -C6_AB (eV Å⁶) for 1/r⁶; the amplitude δ of
    the term, times `scales`, should be of their size. `gapkit.coefficients.linear_coefficients` tells them with their
    standard deviations. Molecules are summed directly, three-dimensional cells by Ewald's method; slabs and wires are
    refused. A fit knows coefficients, not charges, so that each sum is that of a cell in a neutralising background (see
    `LongRangeFeatures`); periodic cells of one species, whose charges cannot cancel, are refused where 1/r is summed.

    ``LongRange(["Na", "Cl"], charges={"Na": 1, "Cl": -1})`` has one coefficient of 1/r instead of three, and is to be
    preferred where one ratio of charges makes every cell neutral: then free coefficients only add ways to be wrong at
    long waves. The coefficient is e²/(4πε₀) s² with s the charge that one unit stands for. It must come out positive,
    which nothing enforces: a negative one, or one within its error bar of 0, says that the data show no such charges.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols.
    powers : sequence of {1, 6}
    width : float
        Å, of the damping: f_1 = erf(r/(√2 width))/r; 0 is none.
    tolerance : float
        Of the sums, as in `gapkit.geometry.lattice_sums.lattice_sums`.
    charges : mapping of str to float, optional
        Relative charge of each species, 0 where there is none: one feature Σ_{A≤B} q_A q_B Σ_{ij∈AB} f_1(r_ij) instead
        of one for each pair; those of 1/r⁶ stay. Periodic cells must be neutral with them, molecules need not.
    """

    def __call__(self, atoms: Atoms) -> Features:
        """Features of a molecule or of a three-dimensional cell.

        Raises
        ------
        InputError
            For a cell of one species with 1/r and no `charges`, and as `LongRangeFeatures.features`.
        """
        symbols = set(atoms.symbols)
        if 1 in self.powers and self.charges is None and atoms.pbc.any() and len(symbols) == 1:
            raise InputError(
                f"the periodic cell {atoms.get_chemical_formula()} holds one species, whose charges cannot cancel in "
                "LongRange's sum of 1/r: set pbc=False for isolated atoms and molecules, or use powers=[6]."
            )
        found = self.features(atoms)
        strain = np.array([found.strain_derivatives[:, a, b] for a, b in VOIGT])
        return Features(found.local_values, np.moveaxis(found.position_derivatives, 0, 2), strain)
