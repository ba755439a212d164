"""Energies, forces, stresses and their standard deviations of one structure after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from gapkit.baselines import Baseline, evaluate_baselines
from gapkit.covariances import rows as covariance
from gapkit.covariances.derivative_variance import derivative_variances
from gapkit.errors import ExtrapolationWarning, InputError, warn
from gapkit.evaluation.standard_deviations import WhichStd
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.geometry.distances import ShortContact, contacts_in_words, worst_contact
from gapkit.geometry.neighbourhoods import NeighbourList
from gapkit.structures.properties import Properties
from gapkit.structures.species import unknown_species
from gapkit.terms.basis import Basis, Environments
from gapkit.terms.evaluate import evaluate, evaluate_with_variance
from gapkit.terms.protocol import Folds

if TYPE_CHECKING:
    from gapkit.evaluation.recalibration import Recalibration


@dataclass(frozen=True)
class Predictions:
    """What `GAP.predict` returns; one entry per structure.

    Standard deviations are the model's own, multiplied by the factors of its recalibration if it has one; noise is not
    in them.

    Attributes
    ----------
    energy : ndarray, shape (n_structures,), eV
    forces : list of ndarray, shape (n_atoms, 3), eV/Å
    stress : list of ndarray, shape (3, 3), eV/Å³, or None without a three-dimensional cell
        ``(1/V) dE/dε``; positive is tension.
    local_energies : list of ndarray, shape (n_atoms,), eV
    energy_std : ndarray, shape (n_structures,), eV, or None
        Posterior standard deviation of the total energy ("dtc"), correlations between atoms included.
    local_energies_std : list of ndarray, shape (n_atoms,), eV, or None
    forces_std : list of ndarray, shape (n_atoms, 3), eV/Å, or None
    stress_std : list of ndarray, shape (3, 3), eV/Å³, or None
        None, too, for a structure without stress.
    short_contacts : list of ShortContact or None, or None
        The pair of atoms that comes most too close for the training data; None where no pair does.
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: list[np.ndarray | None]
    local_energies: list[np.ndarray]
    energy_std: np.ndarray | None = None
    local_energies_std: list[np.ndarray] | None = None
    forces_std: list[np.ndarray] | None = None
    stress_std: list[np.ndarray | None] | None = None
    short_contacts: list[ShortContact | None] | None = None

    def warn(self) -> None:
        """One warning if a pair of atoms comes too close for the training data."""
        if sentence := contacts_in_words(self.short_contacts or ()):
            warn(sentence, ExtrapolationWarning)


class Potential(NamedTuple):
    """A fitted model as far as predictions need it."""

    basis: Basis
    alpha: np.ndarray
    folds: Folds
    posterior: SparsePosterior
    e0: Mapping[str, float]
    species: tuple[str, ...]
    recalibration: Recalibration | None = None
    baselines: tuple[Baseline, ...] = ()
    shortest: Mapping[str, float] | None = None

    def predict(
        self, atoms: Atoms, std: WhichStd | None, lists: Mapping[float, NeighbourList] | None = None
    ) -> dict[str, Any]:
        """One structure's entries of `Predictions`, with what `std` asks for; `lists` as in `GAP.predict`."""
        self.check_known(atoms)
        environments = self.basis.environments(atoms, lists)
        result, variance = self._evaluate(environments, std is not None)
        known = evaluate_baselines(self.baselines, atoms)
        local_energies = result.local_energies + known.local_energies + energies_of_atoms(self.e0, atoms.numbers)
        volume = abs(np.linalg.det(atoms.cell.array)) if atoms.pbc.any() and atoms.cell.rank == 3 else 0.0
        found = {
            "energy": float(local_energies.sum()),
            "forces": result.forces + known.forces,
            "stress": (result.strain_derivative + known.strain_derivative) / volume if volume > 0 else None,
            "local_energies": local_energies,
        }
        if self.shortest:
            found["short_contacts"] = worst_contact(environments.longest, atoms.numbers, self.shortest)
        if variance is not None:
            found["local_energies_std"] = np.sqrt(variance)
        if std in (WhichStd.ENERGY, WhichStd.ALL):
            found["energy_std"] = self._energy_std(environments)
        if std == WhichStd.ALL:
            found |= self._derivative_std(environments, volume)
        return found if self.recalibration is None else found | _recalibrated(found, atoms, self.recalibration)

    def _evaluate(self, environments: Environments, with_variance: bool) -> tuple[Properties, np.ndarray | None]:
        """Sums over all terms and, if wanted, variances of the local energies, eV²."""
        if with_variance:
            return evaluate_with_variance(environments, self.alpha, self.posterior.local_variance, self.folds)
        return evaluate(environments, self.alpha, self.folds), None

    def check_known(self, atoms: Atoms) -> None:
        """Raise `InputError` for a species that was not in the training data."""
        if unknown := unknown_species(atoms.numbers, self.species):
            raise InputError(
                f"the structure {atoms.get_chemical_formula()} holds {', '.join(unknown)}, but the model was trained "
                f"on {', '.join(self.species)} only: add frames with it to the training data."
            )

    def energy_stds(self, atoms: Atoms) -> tuple[float, float]:
        """Posterior and prior standard deviation of one structure's energy, eV, recalibrated if the model is."""
        environments = self.basis.environments(atoms)
        factor = 1.0 if self.recalibration is None else self.recalibration.factor("energy")
        prior = covariance.prior_energy_variance(environments)
        return factor * self._energy_std(environments), factor * float(np.sqrt(max(prior, 0.0)))

    def _energy_std(self, environments: Environments) -> float:
        """Standard deviation of the total energy, eV."""
        row = covariance.local_rows(environments).sum(axis=0)
        prior = covariance.prior_energy_variance(environments)
        return float(np.sqrt(self.posterior.variance(row[None], np.array([prior]))[0]))

    def _derivative_std(self, environments: Environments, volume: float) -> dict[str, Any]:
        """Standard deviations of the forces, eV/Å, and the stress, eV/Å³."""
        found = derivative_variances(environments, self.posterior)
        stress = voigt_6_to_full_3x3_stress(np.sqrt(found.strain)) / volume if volume > 0 else None
        return {"forces_std": np.sqrt(found.forces), "stress_std": stress}


def _recalibrated(found: Mapping[str, Any], atoms: Atoms, by: Recalibration) -> dict[str, Any]:
    """The standard deviations in `found`, multiplied by their factors."""
    new = {name: found[name] * by.factor("energy") for name in ("energy_std", "local_energies_std") if name in found}
    if "forces_std" in found:
        new["forces_std"] = found["forces_std"] * by.factors("forces", atoms.symbols)[:, None]
    if found.get("stress_std") is not None:
        new["stress_std"] = found["stress_std"] * by.factor("stress")
    return new


def energies_of_atoms(e0: Mapping[str, float], numbers: np.ndarray) -> np.ndarray:
    """E0 of each atom, eV."""
    distinct, inverse = np.unique(numbers, return_inverse=True)
    return np.array([e0[chemical_symbols[z]] for z in distinct])[inverse]


def gathered(singles: list[dict[str, Any]]) -> Predictions:
    """`Potential.predict` of several structures as one object."""
    columns: dict[str, Any] = {name: [single[name] for single in singles] for name in singles[0]}
    columns |= {name: np.array(columns[name]) for name in ("energy", "energy_std") if name in columns}
    return Predictions(**columns)
