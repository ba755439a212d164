"""TensorCalculator: dipoles and polarisabilities beside the energies and forces of any ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from gapkit.errors import InputError
from gapkit.tensors.tensor_gap import TensorGAP

PASSED_ON = ("energy", "free_energy", "energies", "forces", "stress")


class TensorCalculator(Calculator):
    """ASE calculator that gives ``dipole`` (e Å), so that `ase.vibrations.Infrared` and others work unchanged.

    Parameters
    ----------
    calculator : ASE calculator, optional
        Where energy, forces and stress come from, such as `GAPCalculator`; without it there are none.
    dipole : TensorGAP or path, optional
        Fitted to dipoles; its `unit` must be known.
    polarizability : TensorGAP or path, optional
        Fitted to polarisabilities; its `unit` must be known.

    Attributes
    ----------
    polarizability : ndarray, shape (3, 3), Å³, or None
        Of the last structure; not among ``results``, as ASE has no such property.

    Raises
    ------
    InputError
        For models of something else, or without a unit.
    """

    implemented_properties = [*PASSED_ON, "dipole"]  # noqa: RUF012

    def __init__(
        self,
        calculator: Any = None,
        dipole: TensorGAP | str | Path | None = None,
        polarizability: TensorGAP | str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if dipole is None and polarizability is None:
            raise InputError("TensorCalculator needs a fitted TensorGAP of dipoles or polarisabilities: give one.")
        self.calculator = calculator
        self.models = {
            name: _model(model, name, rank)
            for name, model, rank in (("dipole", dipole, 1), ("polarizability", polarizability, 2))
            if model is not None
        }
        own = ("dipole",) if dipole is not None else ()
        given = PASSED_ON if calculator is None else getattr(calculator, "implemented_properties", PASSED_ON)
        self.implemented_properties = [*(p for p in PASSED_ON if calculator is not None and p in given), *own]
        self.polarizability: np.ndarray | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``.

        Raises
        ------
        InputError
            For structures that a model cannot describe.
        """
        if system_changes:
            self.results, self.polarizability = {}, None
        super().calculate(atoms, list(properties), list(system_changes))
        wanted = [p for p in properties if p in PASSED_ON]
        if self.calculator is not None and wanted:
            copy = self.atoms.copy()
            self.results |= {p: self.calculator.get_property(p, copy) for p in wanted}
        if "dipole" in self.models:
            self.results["dipole"] = self._value("dipole")
        if "polarizability" in self.models:
            self.polarizability = self._value("polarizability")

    def _value(self, name: str) -> np.ndarray:
        gap, size = self.models[name]
        return np.asarray(size * gap.predict(self.atoms).values[0])

    def uncertainty(self, atoms: Atoms | None = None) -> dict[str, np.ndarray]:
        """Standard deviations of the dipole (e Å) and the polarisability (Å³) by name.

        Raises
        ------
        InputError
            If there is no structure.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("uncertainty needs a structure: calculate something first or pass atoms.")
        return {name: size * gap.predict(atoms, return_std=True).std[0] for name, (gap, size) in self.models.items()}

    def derivatives(self, atoms: Atoms | None = None) -> dict[str, np.ndarray]:
        """∂μ/∂r (3, n_atoms, 3), e, and ∂α/∂r (3, 3, n_atoms, 3), Å², by name."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("derivatives need a structure: calculate something first or pass atoms.")
        return {name: size * gap.derivatives(atoms) for name, (gap, size) in self.models.items()}


def _model(model: TensorGAP | str | Path, name: str, rank: int) -> tuple[TensorGAP, float]:
    """The fitted model and the size of its unit in that of ASE."""
    gap = model if isinstance(model, TensorGAP) else TensorGAP.load(model)
    target = gap.field_.target
    if target.rank != rank or target.of != "sum":
        raise InputError(f"{name} = a model of {target.name}: give one that was fitted to the {name} of structures.")
    size = target.unit_size(gap.unit)
    if size is None:
        example = "e*Å', 'a.u.' or 'Debye" if rank == 1 else "Å^3' or 'a.u."
        raise InputError(f"the {name} model does not know the unit of its labels: set gap.unit = '{example}'.")
    gap.verbose = False
    return gap, size
