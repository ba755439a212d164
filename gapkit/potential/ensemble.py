"""Samples of the posterior: whole potentials that share descriptors, and error bars of anything computed with them.

The weights of a member are a draw α + R⁻¹ ξ with ξ ~ N(0, I), so that a linear functional of the members scatters with
the "sor" covariance K_tm A⁻¹ K_mt. What the sparse points cannot express, the prior residual K_tt - K_tm K_mm⁻¹ K_mt
that "dtc" adds, is zero in all members and so *not* part of their spread: far from the data, or with few sparse points,
error bars from samples are too small. `gapkit.uncertainty.functionals` gives both; compare them before trusting the
samples.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from sklearn.utils.validation import check_is_fitted

from gapkit.checks import is_count
from gapkit.covariances.rows import local_rows, structure_rows
from gapkit.errors import InputError
from gapkit.runtime.threads import one_blas_thread
from gapkit.terms.basis import Environments
from gapkit.terms.evaluate import evaluate_many, rows_are_cheaper
from gapkit.terms.records import Scatter

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

LARGEST_ROWS = 2**30  # bytes


class EnsemblePredictions(NamedTuple):
    """Predictions of all members for one structure; the first axis is the member.

    Attributes
    ----------
    energy : ndarray, shape (n,), eV
    forces : ndarray, shape (n, n_atoms, 3), eV/Å
    stress : ndarray, shape (n, 3, 3), eV/Å³, or None without a three-dimensional cell
    local_energies : ndarray, shape (n, n_atoms), eV
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None
    local_energies: np.ndarray


@dataclass(frozen=True)
class Ensemble:
    """Potentials drawn from the posterior of a fitted model.

    Attributes
    ----------
    gap : GAP
        The model, whose weights are the mean of the members'.
    weights : ndarray, shape (n, n_sparse)
        One row per member.
    """

    gap: GAP
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def member(self, k: int) -> GAP:
        """Member k as a model of its own. Its error bars are those of `gap`; its file has no self-test.

        Raises
        ------
        InputError
            If there is no such member.
        """
        if not -len(self) <= k < len(self):
            raise InputError(f"there is no member {k}: the ensemble has {len(self)}, counted from 0.")
        gap, alpha = copy.copy(self.gap), self.weights[k].copy()
        gap.alpha_, gap.posterior_ = alpha, replace(self.gap.posterior_, alpha=alpha)
        gap.folds_ = gap.basis_.fold(alpha)
        gap.references_ = []  # the model's predictions are not the member's
        return gap

    @one_blas_thread()
    def predict(self, atoms: Atoms) -> EnsemblePredictions:
        """Energies, forces, stress and local energies of all members.

        Features of an atom are computed once. Then each member costs one more contraction with the weights and one
        pull-back; or, if that takes fewer operations (from about 3 n_neighbours members on), all derivatives of the
        covariances are computed once and a member is one product with them. Memory of the second: 3 n_atoms n_sparse
        numbers.

        Parameters
        ----------
        atoms : Atoms

        Raises
        ------
        InputError
            For a structure that the model cannot describe.
        """
        mean = self.gap.predict(atoms)  # refuses what cannot be described; holds e0 and all else that members share
        environments = self.gap.basis_.environments(atoms)
        fits = 24 * len(atoms) * self.weights.shape[1] < LARGEST_ROWS
        if fits and rows_are_cheaper(environments, len(self)):
            scatter = _by_rows(environments, self._deviations)
        else:
            scatter = evaluate_many(environments, self._deviations)
        local = mean.local_energies[0] + scatter.local_energies
        stress = mean.stress[0]
        if stress is not None:
            stress = stress + scatter.strain / atoms.get_volume()
        return EnsemblePredictions(local.sum(axis=1), mean.forces[0] + scatter.forces, stress, local)

    @property
    def _deviations(self) -> np.ndarray:
        """Weights minus their mean, shape (n, n_sparse)."""
        return self.weights - self.gap.alpha_


def _by_rows(environments: Environments, W: np.ndarray) -> Scatter:
    """All derivatives of the covariances once, and a product with each set of weights."""
    rows = structure_rows(environments)
    strain = np.array([voigt_6_to_full_3x3_stress(-v) for v in W @ rows.virial.T])
    return Scatter(W @ local_rows(environments).T, (W @ rows.forces.T).reshape(len(W), -1, 3), strain)


def sample(gap: GAP, n: int, rng: np.random.Generator | int = 0) -> Ensemble:
    """`n` potentials drawn from the posterior of a fitted model, α + R⁻¹ ξ: the same for the same seed.

    Parameters
    ----------
    gap : GAP
    n : int
        20 give standard deviations to 16 %, 200 to 5 %.
    rng : Generator or int
        Source of randomness, or its seed.

    Notes
    -----
    The spread is that of the "sor" covariance: what the data leave uncertain in the weights. The prior residual of the
    sparse points, which "dtc" adds, is not in it; neither is the noise of labels.

    Raises
    ------
    InputError
        Unless `n` is a positive whole number.
    """
    check_is_fitted(gap, "posterior_")
    if not is_count(n):
        raise InputError(f"n = {n} members: give a positive whole number, for example 50.")
    return Ensemble(gap, gap.posterior_.sample(int(n), np.random.default_rng(rng)))
