"""GAPCalculator: ASE in, ASE out; uncertainties have their own method, as extra results break ASE's writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit.errors import InputError
from gapkit.gap import GAP


class Uncertainty(NamedTuple):
    """Posterior standard deviations of one structure, eV.

    Attributes
    ----------
    energy_std : float
        Of the total energy, correlations between atoms included.
    local_energies_std : ndarray, shape (n_atoms,)
        Of each local energy.
    """

    energy_std: float
    local_energies_std: np.ndarray


class GAPCalculator(Calculator):
    """ASE calculator of a fitted potential: molecules, slabs and crystals.

    Parameters
    ----------
    gap : GAP or path
        A fitted model or a model file.

    Notes
    -----
    Results: ``energy`` and ``free_energy`` (equal, eV), ``energies`` (n_atoms,), ``forces`` (n_atoms, 3) eV/Å and, for
    structures with a three-dimensional cell, ``stress`` (Voigt xx yy zz yz xz xy, eV/Å³, positive under tension).
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, gap: GAP | str | Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gap = gap if isinstance(gap, GAP) else GAP.load(gap)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``; everything comes from one evaluation.

        Raises
        ------
        InputError
            For structures that the model cannot describe.
        PropertyNotImplementedError
            If stress is asked of a structure without a three-dimensional cell.
        """
        super().calculate(atoms, properties, system_changes)
        p = self.gap.predict(self.atoms)
        self.results = {
            "energy": float(p.energy[0]),
            "free_energy": float(p.energy[0]),
            "energies": p.local_energies[0],
            "forces": p.forces[0],
        }
        if p.stress[0] is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(p.stress[0])
        elif "stress" in properties:
            raise PropertyNotImplementedError(
                "stress needs a periodic structure with three cell vectors of non-zero volume: set its cell and pbc."
            )

    def uncertainty(self, atoms: Atoms | None = None) -> Uncertainty:
        """Standard deviations of the energy and the local energies of `atoms` (default: those calculated last)."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("uncertainty needs a structure: calculate something first or pass atoms.")
        p = self.gap.predict(atoms, return_std=True)
        assert p.energy_std is not None
        assert p.local_energies_std is not None
        return Uncertainty(float(p.energy_std[0]), p.local_energies_std[0])
