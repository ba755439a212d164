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
from gapkit.neighbourhoods import NeighbourList
from gapkit.structures import check_structures


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
    per_atom_std : bool
        Compute the standard deviation of every local energy in each step, too; they are in `local_energies_std`.
    skin : float
        Å; the neighbour list holds pairs up to the cutoff plus this and is made anew when an atom has moved by half
        of it. Results do not depend on it.

    Attributes
    ----------
    local_energies_std : ndarray, shape (n_atoms,), eV, or None

    Notes
    -----
    Results: ``energy`` and ``free_energy`` (equal, eV), ``energies`` (n_atoms,), ``forces`` (n_atoms, 3) eV/Å and, for
    structures with a three-dimensional cell, ``stress`` (Voigt xx yy zz yz xz xy, eV/Å³, positive under tension).
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, gap: GAP | str | Path, per_atom_std: bool = False, skin: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= skin < np.inf:
            raise InputError(f"skin = {skin} Å must be a number that is not negative; 1 Å is usual.")
        self.gap = gap if isinstance(gap, GAP) else GAP.load(gap)
        self.per_atom_std = per_atom_std
        self.local_energies_std: np.ndarray | None = None
        self._last: Atoms | None = None
        self._lists = {t.reach: NeighbourList(t.reach, skin) for t in self.gap.terms_ if t.reach is not None}

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What of the structure has changed since the last calculation; charges and moments do not matter here."""
        return list(all_changes) if self.atoms is None else _changes(self.atoms, atoms)

    def _take(self, atoms: Atoms | None) -> None:
        """Remember the structure; in a step that only moves atoms without checking and copying all of it."""
        if atoms is None:
            raise InputError("calculate needs a structure: pass atoms.")
        last = self._last  # `atoms` itself is forgotten by ASE before each calculation
        if last is not None and set(_changes(last, atoms)) <= {"positions"} and np.all(np.isfinite(atoms.positions)):
            last.positions[:] = atoms.positions
        else:
            check_structures([atoms])
            self._last = atoms.copy()
        self.atoms = self._last

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
        self.results = {}  # nothing old is left if the structure is refused
        self._take(self.atoms if atoms is None else atoms)
        std = "local" if self.per_atom_std else False
        p = self.gap.predict(self.atoms, return_std=std, neighbour_lists=self._lists)
        self.local_energies_std = p.local_energies_std[0] if p.local_energies_std else None
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


def _changes(before: Atoms, now: Atoms) -> list[str]:
    pairs = ((x.positions, x.numbers, x.cell.array, x.pbc) for x in (before, now))
    names = ("positions", "numbers", "cell", "pbc")
    return [name for name, x, y in zip(names, *pairs) if not np.array_equal(x, y)]
