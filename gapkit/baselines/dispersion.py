"""Dispersion corrections through their authors' own libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from gapkit.checks import check_fields
from gapkit.errors import InputError, did_you_mean
from gapkit.geometry.lattice_sums import check_periodicity
from gapkit.structures.properties import Properties

D3_DAMPINGS: Mapping[str, str] = {
    "bj": "RationalDampingParam",
    "zero": "ZeroDampingParam",
    "mbj": "ModifiedRationalDampingParam",
    "mzero": "ModifiedZeroDampingParam",
    "op": "OptimizedPowerDampingParam",
}
CUTOFFS = (60.0, 40.0, 40.0)  # Bohr: pairs, triples, coordination numbers; the packages' own choice
SWITCH = 6.0  # Bohr, width in which pairs and triples fade out: a sudden end costs 3e-5 eV/Å of force in NaCl


@dataclass(frozen=True)
class D3:
    """Grimme's D3 dispersion for a density functional, by the ``dftd3`` package (``pip install gapkit[dispersion]``).

    S. Grimme, J. Antony, S. Ehrlich and H. Krieg, J. Chem. Phys. 132, 154104 (2010); S. Grimme, S. Ehrlich and
    L. Goerigk, J. Comput. Chem. 32, 1456 (2011) for "bj". Any periodicity. Pairs end at 60 Bohr and triples at
    40 Bohr, as the package has it, but fade out over the last 6 Bohr, so that forces and stress are exact derivatives.

    Parameters
    ----------
    functional : str
        As the package names it: "pbe", "pbesol", "r2scan", "b3lyp", …
    damping : {"bj", "zero", "mbj", "mzero", "op"}
    three_body : bool
        Add the Axilrod–Teller–Muto term, which costs a hundred times the rest in a small periodic cell.
    """

    functional: str = "pbe"
    damping: Literal["bj", "zero", "mbj", "mzero", "op"] = "bj"
    three_body: bool = False

    largest_number: ClassVar[int] = 103

    def validate(self) -> None:
        """Raise `InputError` for an unknown functional or damping, or without the package."""
        check_fields(self)
        if self.damping not in D3_DAMPINGS:
            raise InputError(
                f"D3's damping = {self.damping!r} is unknown{did_you_mean(str(self.damping), D3_DAMPINGS)}."
            )
        self._damping_parameters()

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for elements that D3 has no parameters for."""
        _check_numbers(numbers, "D3", self.largest_number)

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces, strain derivative and local energies (half of each pair, a third of each triple).

        Raises
        ------
        InputError
            As `validate` and `check_species`, and for a structure that the package refuses.
        """
        self.check_species(atoms.numbers)
        return _evaluate("dftd3", atoms, self._damping_parameters())

    def _damping_parameters(self) -> Any:
        interface = _interface("dftd3", "D3")
        kind = getattr(interface, D3_DAMPINGS[self.damping])
        try:
            return kind(method=self.functional, atm=self.three_body)
        except RuntimeError as error:
            raise _unknown_functional("D3", self.functional, f" with {self.damping} damping", error) from None


@dataclass(frozen=True)
class D4:
    """D4 dispersion for a density functional, by the ``dftd4`` package (``pip install gapkit[dispersion]``).

    E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019); periodic: Phys. Chem. Chem. Phys. 22, 8499 (2020). Its
    atomic charges (electronegativity equilibration) belong to neutral structures, periodic in three directions or in
    none; in cells the package converges them to about 1e-6 of the energy. Cutoffs as in `D3`.

    Parameters
    ----------
    functional : str
        As the package names it: "pbe", "pbesol", "r2scan", "b3lyp", …
    three_body : bool
        The Axilrod–Teller–Muto term, part of the method; it costs most of the time in a periodic cell.
    """

    functional: str = "pbe"
    three_body: bool = True

    largest_number: ClassVar[int] = 103

    def validate(self) -> None:
        """Raise `InputError` for an unknown functional, or without the package."""
        check_fields(self)
        self._damping_parameters()

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for elements that D4 has no parameters for."""
        _check_numbers(numbers, "D4", self.largest_number)

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces, strain derivative and local energies (half of each pair, a third of each triple).

        Raises
        ------
        InputError
            As `validate` and `check_species`, and for a structure that the package refuses.
        """
        self.check_species(atoms.numbers)
        check_periodicity(atoms, "D4")
        return _evaluate("dftd4", atoms, self._damping_parameters())

    def _damping_parameters(self) -> Any:
        try:
            return _interface("dftd4", "D4").DampingParam(method=self.functional, atm=self.three_body)
        except RuntimeError as error:
            raise _unknown_functional("D4", self.functional, "", error) from None


def _interface(package: str, name: str) -> Any:
    try:
        return import_module(f"{package}.interface")
    except ImportError:
        raise InputError(f"{name} needs the package {package}: pip install 'gapkit[dispersion]'.") from None


def _unknown_functional(name: str, functional: str, what: str, error: Exception) -> InputError:
    return InputError(
        f"{name} has no parameters for functional = {functional!r}{what} ({error}): "
        "use one of the package's names, such as pbe, pbesol, r2scan or b3lyp."
    )


def _check_numbers(numbers: np.ndarray, name: str, largest: int) -> None:
    unknown = [chemical_symbols[z] for z in np.unique(numbers) if z > largest]
    if unknown:
        raise InputError(
            f"{name} has no parameters for {', '.join(unknown)}: it ends at {chemical_symbols[largest]}; "
            "leave this baseline or these frames out."
        )


def _evaluate(package: str, atoms: Atoms, damping: Any) -> Properties:
    """Hartree and Bohr there, eV and Å here; ``virial`` there is dE/dε."""
    positions, cell = _placed(atoms)
    try:
        model = _interface(package, package).DispersionModel(atoms.numbers, positions / Bohr, **cell)
        model.set_realspace_cutoff(*CUTOFFS, SWITCH, SWITCH)
        found, pairs = model.get_dispersion(damping, grad=True), model.get_pairwise_dispersion(damping)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{package} cannot treat {atoms.get_chemical_formula()}: {error}.") from None
    per_pair = np.sum(list(pairs.values()), axis=0)
    local = 0.5 * Hartree * (per_pair.sum(axis=0) + per_pair.sum(axis=1))
    strain = 0.5 * Hartree * (found["virial"] + found["virial"].T)
    return Properties(float(local.sum()), -Hartree / Bohr * found["gradient"], strain, local)


def _placed(atoms: Atoms) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Positions (Å) and cell (Bohr); the packages wrap along every vector, so that open ones must hold all atoms."""
    if not atoms.pbc.any():
        return atoms.positions, {}
    vectors, positions = atoms.cell.array.copy(), atoms.positions
    vectors[~atoms.pbc] = 0.0
    if np.linalg.matrix_rank(vectors) < atoms.pbc.sum():
        raise InputError("the periodic cell vectors depend on each other: give independent ones.")
    vectors = Cell(vectors).complete().array  # unit vectors, perpendicular to the periodic ones
    for axis in np.flatnonzero(~atoms.pbc):
        heights = positions @ vectors[axis]
        positions = positions - (heights.min() - 1.0) * vectors[axis]
        vectors[axis] *= np.ptp(heights) + 2.0
    return positions, {"lattice": vectors / Bohr, "periodic": atoms.pbc}
