"""GAPCalculator: ASE in, ASE out; uncertainties have their own method, as extra results break ASE's writers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit.checks import is_number
from gapkit.errors import InputError, did_you_mean
from gapkit.evaluation.standard_deviations import WhichStd, parse_std
from gapkit.geometry.neighbourhoods import NeighbourList
from gapkit.potential.gap import GAP
from gapkit.potential.loaded_models import loaded
from gapkit.potential.prediction import Predictions
from gapkit.structures.labels import check_structures

PER_ATOM = ("local_energies_std", "forces_std")
PLACES = ("arrays", "info")
OF_ASE = ("restart", "ignore_bad_restart_file", "label", "atoms", "directory")  # of every calculator of ASE
PARAMETERS = ("gap", "per_atom_std", "skin", *OF_ASE)


class Uncertainty(NamedTuple):
    """Posterior standard deviations of one structure, as `GAP.predict` gives them; None for what was not asked.

    Attributes
    ----------
    energy_std : float, eV
        Of the total energy, correlations between atoms included.
    local_energies_std : ndarray, shape (n_atoms,), eV
        Of each local energy.
    forces_std : ndarray, shape (n_atoms, 3), eV/Å
    stress_std : ndarray, shape (6,), eV/Å³
        Voigt xx yy zz yz xz xy; None, too, without a three-dimensional cell.
    """

    energy_std: float | None
    local_energies_std: np.ndarray
    forces_std: np.ndarray | None = None
    stress_std: np.ndarray | None = None


class GAPCalculator(Calculator):
    """ASE calculator of a fitted potential: molecules, slabs and crystals.

    Parameters
    ----------
    gap : GAP or path
        A fitted model or a model file. Calculators of one file share what was loaded (`loaded_models`).
    per_atom_std : bool
        Compute the standard deviation of every local energy in each step, too; they are in `local_energies_std`.
    skin : float
        Å; the neighbour list holds pairs up to the cutoff plus this and is rebuilt when an atom has moved by half
        of it. Results do not depend on it.
    **kwargs
        ``label``, ``directory``, ``atoms`` and ``restart`` of `ase.calculators.calculator.Calculator`.

    Attributes
    ----------
    local_energies_std : ndarray, shape (n_atoms,), eV, or None

    Notes
    -----
    Results: ``energy`` and ``free_energy`` (equal, eV), ``energies`` (n_atoms,), ``forces`` (n_atoms, 3) eV/Å and, for
    structures with a three-dimensional cell, ``stress`` (Voigt xx yy zz yz xz xy, eV/Å³, positive under tension).

    Threads may share a calculator through ASE's methods (``atoms.get_forces()``, `uncertainty`, `write_std`): one
    calculates at a time. ``results`` and `local_energies_std` are those of the last structure of all threads; a
    calculator for each thread is faster.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, gap: GAP | str | Path, per_atom_std: bool = False, skin: float = 1.0, **kwargs: Any) -> None:
        if unknown := sorted(set(kwargs) - set(OF_ASE)):
            raise InputError(f"GAPCalculator has no parameter {unknown[0]!r}{did_you_mean(unknown[0], PARAMETERS)}.")
        super().__init__(**kwargs)
        self._lock = threading.RLock()
        if not is_number(skin) or skin < 0:
            raise InputError(f"skin = {skin!r} Å must be a number that is not negative; 1 Å is usual.")
        self.gap = gap if isinstance(gap, GAP) else loaded(gap)
        self.per_atom_std = per_atom_std
        self.local_energies_std: np.ndarray | None = None
        self._last: Atoms | None = None
        self._has_warned = False
        longest = max((t.reach for t in self.gap.terms_ if t.reach is not None), default=None)
        self._lists = {} if longest is None else {longest: NeighbourList(longest, skin)}

    def get_spin_polarized(self) -> bool:
        """No spins; without this ASE puts a method of the calculator into the calculator: a cycle of references."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The state with a lock of its own."""
        vars(self).update(state)
        self._lock = threading.RLock()

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """A result of ASE's `Calculator.get_property`; threads wait for each other, so that it is their structure's."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

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
            self._last.arrays["positions"] = np.array(atoms.positions, dtype=float)
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

        Warns
        -----
        ExtrapolationWarning
            As `GAP.predict`, once in the life of the calculator.
        """
        with self._lock:
            self._calculate(atoms, properties)

    def _calculate(self, atoms: Atoms | None, properties: Sequence[str]) -> None:
        self.results, self.local_energies_std = {}, None  # nothing old is left if the structure is refused
        self._take(self.atoms if atoms is None else atoms)
        std = WhichStd.LOCAL if self.per_atom_std else False
        p = self.gap.predict(self.atoms, return_std=std, neighbour_lists=self._lists)
        if not self._has_warned and any(p.short_contacts or ()):
            self._has_warned = True
            p.warn()
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

    def uncertainty(self, atoms: Atoms | None = None, which: str = "all") -> Uncertainty:
        """Standard deviations of a structure; ``results`` stay as they are.

        Parameters
        ----------
        atoms : Atoms, optional
            By default the structure calculated last.
        which : {"local", "energy", "all"}
            "local": of the local energies alone, at little more than the cost of the forces, or at none with
            `per_atom_std`. "energy": of the total energy, too, which grows with the square of the number of atoms.
            "all": of forces and stress, too, about thirty times the cost of the forces.

        Raises
        ------
        InputError
            If there is no structure, `which` is unknown, or the model cannot describe the structure.
        """
        std = parse_std(which)
        with self._lock:
            return self._uncertainty(self.atoms if atoms is None else atoms, std)

    def _uncertainty(self, atoms: Atoms | None, std: WhichStd) -> Uncertainty:
        if atoms is None:
            raise InputError("uncertainty needs a structure: calculate something first or pass atoms.")
        known = self.atoms is not None and not _changes(self.atoms, atoms)
        if std == WhichStd.LOCAL and known and self.local_energies_std is not None:
            return Uncertainty(None, self.local_energies_std.copy())
        return _uncertainty(self.gap.predict(atoms, std, self._lists if known else None))

    def write_std(self, atoms: Atoms, which: str = "local", into: str = "arrays") -> None:
        """Put the standard deviations of a structure where ASE's writers take them along.

        Beside ``results``, in which ASE's writers would stumble over them. Names: ``local_energies_std``,
        ``energy_std``, ``forces_std``, ``stress_std``. As an observer attach it before the writer, so that each frame
        has its own: ``dyn.attach(calc.write_std, 10, atoms); dyn.attach(writer, 10)``. They stay there when atoms move.

        Parameters
        ----------
        atoms : Atoms
            Changed in place.
        which : {"local", "energy", "all"}
            As `uncertainty`.
        into : {"arrays", "info"}
            Where those of each atom go: ``atoms.arrays``, which extended XYZ files keep, or ``atoms.info``, for .traj
            files, which keep no other arrays than ASE's own. Those of the structure go to ``atoms.info``.

        Raises
        ------
        InputError
            As `uncertainty`, or if `into` is unknown.
        """
        if not isinstance(into, str) or into not in PLACES:
            raise InputError(f"standard deviations cannot go into {into!r}{did_you_mean(str(into), PLACES)}.")
        for name, value in self.uncertainty(atoms, which)._asdict().items():
            place = atoms.arrays if name in PER_ATOM and into == "arrays" else atoms.info
            place.pop(name, None)
            if value is not None:
                place[name] = value


def _uncertainty(p: Predictions) -> Uncertainty:
    """The standard deviations of one structure."""
    assert p.local_energies_std is not None
    stress = None if p.stress_std is None or p.stress_std[0] is None else full_3x3_to_voigt_6_stress(p.stress_std[0])
    return Uncertainty(
        None if p.energy_std is None else float(p.energy_std[0]),
        p.local_energies_std[0],
        None if p.forces_std is None else p.forces_std[0],
        stress,
    )


def _changes(before: Atoms, now: Atoms) -> list[str]:
    pairs = ((x.positions, x.numbers, x.cell.array, x.pbc) for x in (before, now))
    names = ("positions", "numbers", "cell", "pbc")
    return [name for name, x, y in zip(names, *pairs) if not np.array_equal(x, y)]
