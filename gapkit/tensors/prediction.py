"""What a fitted `TensorGAP` says of structures: values with covariances, draws, derivatives by positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.descriptors.lambda_soap import Order
from gapkit.errors import InputError
from gapkit.tensors.fit import OrderModel, unit_length
from gapkit.tensors.labels import Convention, bare, check_periodic, origin_shift, shift_gradient
from gapkit.tensors.offsets import offset_of
from gapkit.tensors.rows import Structure, scales
from gapkit.tensors.targets import Target
from gapkit.tensors.term import TensorTerm

ATOMS_TOGETHER = 16  # whose covariances are taken out of one matrix


@dataclass(frozen=True)
class TensorPredictions:
    """Predictions of some structures.

    Attributes
    ----------
    values : ndarray, shape (n, …), or list of ndarray, shape (n_atoms, …), for a property of atoms
        In the labels' unit; … is nothing, 3, or 3 × 3.
    std : the same, or None
        Posterior standard deviations of the components.
    covariance : ndarray, shape (n, d, d), or list of ndarray, shape (n_atoms, d, d), or None
        Of `components`.
    components : tuple of str
        xx yy zz yz xz xy of a symmetric tensor, x y z of a vector.
    unit : str or None
        Of `values`, as given to `TensorGAP`.
    """

    values: Any
    std: Any = None
    covariance: Any = None
    components: tuple[str, ...] = ()
    unit: str | None = None


@dataclass(frozen=True)
class TensorField:
    """The fitted model as far as predictions need it."""

    target: Target
    convention: Convention
    terms: tuple[TensorTerm, ...]
    species: tuple[str, ...]
    offsets: Mapping[str, float]
    models: tuple[OrderModel, ...]

    def structure(self, atoms: Atoms, where: str = "the structure") -> tuple[Atoms, Structure]:
        """Geometry (charge kept in ``info``) and neighbourhoods of a checked structure."""
        own = bare(atoms, where)
        own.info.update(atoms.info)
        check_periodic(self.target, self.convention, own, where)
        self.check_species(own, where)
        return own, Structure(self.terms, own)

    def check_species(self, atoms: Atoms, where: str) -> None:
        """Raise `InputError` for a species that the training frames did not have."""
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if unknown:
            raise InputError(
                f"{where} holds {', '.join(unknown)}, unknown to the training frames: add frames with it and fit again."
            )

    def offset(self, numbers: np.ndarray) -> np.ndarray | float:
        """y_0 that the structure, or each atom, starts from."""
        if not self.offsets:
            return 0.0
        start = unit_length(self.target) * offset_of(self.offsets, numbers, self.target.of)
        return start[:, None] if self.target.of == "atom" else start

    def parts(self, own: Atoms, structure: Structure) -> dict[Order, np.ndarray]:
        """Posterior means of the spherical parts, independent of the origin."""
        parts = {}
        for model in self.models:
            y = structure.means(model.columns, model.weights)
            if self.target.of != "atom":
                y = y.mean(axis=0) if self.target.of == "mean" else y.sum(axis=0)
            parts[model.columns.order] = self._with_offset(model.columns.order, y, own)
        return parts

    def value(self, own: Atoms, structure: Structure) -> np.ndarray:
        """The posterior mean."""
        return self._finished(self.parts(own, structure), own)

    def _with_offset(self, order: Order, y: np.ndarray, own: Atoms) -> np.ndarray:
        return y + self.offset(own.numbers) if order.order == 0 else y

    def _finished(self, parts: dict[Order, np.ndarray], own: Atoms) -> np.ndarray:
        return np.asarray(self.target.values(parts) + origin_shift(self.target, self.convention, own, "the structure"))

    def part_covariances(self, structure: Structure) -> dict[Order, np.ndarray]:
        """Posterior covariances ("dtc") of the spherical parts, (2λ + 1, 2λ + 1) or (n_atoms, 2λ + 1, 2λ + 1)."""
        parts = {}
        for model in self.models:
            K = self._rows(model, structure)
            prior = structure.prior(model.columns, self.target.of, model.deltas)
            if self.target.of == "atom":
                parts[model.columns.order] = _of_atoms(model, K, prior)
            else:
                parts[model.columns.order] = model.posterior.covariance(K, prior)
        return parts

    def covariance(self, structure: Structure) -> np.ndarray:
        """Posterior covariance of the target's components, (d, d) or (n_atoms, d, d)."""
        return self.target.covariance(self.part_covariances(structure))

    def _rows(self, model: OrderModel, structure: Structure) -> np.ndarray:
        return structure.rows(model.columns, self.target.of) * scales(model.columns, model.deltas)

    def draws(self, own: Atoms, structure: Structure, alphas: Mapping[Order, np.ndarray]) -> np.ndarray:
        """Values by other weights (n_draws, n_columns) of each order, shape (n_draws, …)."""
        parts = {}
        for model in self.models:
            y = np.moveaxis(self._rows(model, structure) @ alphas[model.columns.order].T, -1, 0)
            parts[model.columns.order] = self._with_offset(model.columns.order, y, own)
        return self._finished(parts, own)

    def derivatives(self, own: Atoms, structure: Structure) -> np.ndarray:
        """∂(value)/∂r_ib, shape (…, n_atoms, 3)."""
        n = len(own)
        parts = {
            model.columns.order: np.moveaxis(structure.gradients(model.columns, model.weights, self.target.of), 0, -1)
            for model in self.models
        }
        whole = np.moveaxis(self.target.values(parts), (0, 1), (-2, -1))
        if self.target.moment:
            whole = whole + shift_gradient(self.target, self.convention, own)
        return np.asarray(whole.reshape(*self.target.shape, n, 3))


def _of_atoms(model: OrderModel, K: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Diagonal blocks of the covariance, (n_atoms, 2λ + 1, 2λ + 1)."""
    n, size = K.shape[:2]
    found = np.empty((n, size, size))
    for start in range(0, n, ATOMS_TOGETHER):
        k = min(ATOMS_TOGETHER, n - start)
        rows = K[start : start + k].reshape(k * size, -1)
        C = model.posterior.covariance(rows, np.zeros((k * size, k * size)))
        for i in range(k):
            at = slice(i * size, (i + 1) * size)
            found[start + i] = C[at, at] + prior[start + i]
    return found
