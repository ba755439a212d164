"""Samples of the posterior: whole potentials that share descriptors, and error bars of anything one computes with them.

The weights of a member are a draw α + R⁻¹ ξ with ξ ~ N(0, I), so that a linear functional of the members scatters with
the "sor" covariance K_tm A⁻¹ K_mt. What the sparse points cannot express, the prior residual K_tt - K_tm K_mm⁻¹ K_mt
that "dtc" adds, is zero in all members and so *not* part of their spread: far from the data, or with few sparse points,
error bars from samples are too small. `gapkit.uncertainty.functionals` gives both; compare them before you trust the
samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from sklearn.utils.validation import check_is_fitted

from gapkit._numba.kernels import pair_forces
from gapkit.checks import is_count
from gapkit.covariances.rows import local_rows, structure_rows
from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import contract_folded, contract_gradient, inner_products, normalise
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.runtime.workspace import thread_workspace
from gapkit.terms.evaluate import centre_groups, find_all_neighbourhoods, fold_weights
from gapkit.terms.term import ALL_SPECIES, SparseBlock, feature_blocks, kernel_term

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

GROUP = 64  # centres whose features are shared by all members at one time
PULL_BACK = 16  # operations of the pull-back per feature and neighbour, roughly

LARGEST_ROWS = 2**30  # bytes

Folds = Mapping[tuple[int, int], np.ndarray]


class EnsemblePredictions(NamedTuple):
    """What all members say of one structure; the first axis is the member.

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


class _Scatter(NamedTuple):
    """Members minus mean: local energies (n, n_atoms), forces (n, n_atoms, 3) and strain derivatives (n, 3, 3)."""

    local_energies: np.ndarray
    forces: np.ndarray
    strain: np.ndarray


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
        """Member k as a model of its own. Its error bars are the ensemble's model's; its file carries no self-test.

        Raises
        ------
        InputError
            If there is no such member.
        """
        if not -len(self) <= k < len(self):
            raise InputError(f"there is no member {k}: the ensemble has {len(self)}, counted from 0.")
        gap, alpha = copy.copy(self.gap), self.weights[k].copy()
        gap.alpha_, gap.posterior_ = alpha, replace(self.gap.posterior_, alpha=alpha)
        gap.folds_ = fold_weights(gap.terms_, gap.blocks_, alpha)
        gap.references_ = []  # the model's predictions are not the member's
        return gap

    @one_blas_thread()
    def predict(self, atoms: Atoms) -> EnsemblePredictions:
        """Energies, forces, stress and local energies of all members.

        Features of an atom are computed once. Then each member costs one more contraction with the weights and one
        pull-back; or, if that is fewer operations (from about 3 n_neighbours members on), all derivatives of the
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
        mean = self.gap.predict(atoms)  # refuses what cannot be described; holds e0 and all that members share
        neighbourhoods = find_all_neighbourhoods(self.gap.terms_, atoms)
        route = self._by_rows if self._rows_are_cheaper(neighbourhoods) else self._by_members
        scatter = route(neighbourhoods, atoms.numbers)
        local = mean.local_energies[0] + scatter.local_energies
        stress = mean.stress[0]
        if stress is not None:
            stress = stress + scatter.strain / atoms.get_volume()
        return EnsemblePredictions(local.sum(axis=1), mean.forces[0] + scatter.forces, stress, local)

    @property
    def _deviations(self) -> np.ndarray:
        """Weights minus their mean, shape (n, n_sparse)."""
        return self.weights - self.gap.alpha_

    def _rows_are_cheaper(self, neighbourhoods: Sequence[Neighbourhoods]) -> bool:
        """Whether rows take fewer operations than one contraction per member, and fit into `LARGEST_ROWS`."""
        n, n_atoms = self.weights.shape[0], neighbourhoods[0].n_atoms
        by_rows = by_members = 0.0
        for block in self.gap.blocks_:
            if block.number == ALL_SPECIES:
                continue
            m, n_features = block.X.shape
            neighbours = len(neighbourhoods[block.term].j) / n_atoms
            by_rows += 2 * (3 * neighbours + 9) * m * n_features + 6 * n * m
            by_members += n * n_features * (2 * m + PULL_BACK * neighbours)
        return by_rows < by_members and 24 * n_atoms * self.weights.shape[1] < LARGEST_ROWS

    def _by_rows(self, neighbourhoods: Sequence[Neighbourhoods], numbers: np.ndarray) -> _Scatter:
        surroundings = (self.gap.terms_, self.gap.blocks_, neighbourhoods, numbers)
        rows, W = structure_rows(*surroundings), self._deviations
        strain = np.array([voigt_6_to_full_3x3_stress(-v) for v in W @ rows.virial.T])
        return _Scatter(W @ local_rows(*surroundings).T, (W @ rows.forces.T).reshape(len(W), -1, 3), strain)

    def _by_members(self, neighbourhoods: Sequence[Neighbourhoods], numbers: np.ndarray) -> _Scatter:
        gap, W = self.gap, self._deviations
        kernels = [block for block in gap.blocks_ if block.number != ALL_SPECIES]
        folds = [fold_weights(gap.terms_, kernels, w) for w in W]
        shapes = (len(W), len(numbers)), (len(W), len(numbers), 3), (len(W), 3, 3)
        found = _Scatter(*(np.zeros(shape) for shape in shapes))
        groups = centre_groups(gap.blocks_, neighbourhoods[0].centres, numbers, GROUP)
        pieces = [(block, neighbourhoods[block.term].select(which)) for own, which in groups for block in own]
        for nb, e, g in ordered_map(lambda piece: _contract(gap, *piece, numbers, W, folds), pieces):
            found.local_energies[:, nb.centres] += e
            for s in range(len(W)):
                pair_forces(nb.centres, nb.first, nb.j, nb.D, g[s], found.forces[s], found.strain[s])
        for t, term, block in feature_blocks(gap.terms_, gap.blocks_):  # one set of rows is cheaper than many folds
            rows, w = term.rows(block.X, neighbourhoods[t], numbers), term.delta**2 * W[:, block.columns]
            virial = w @ rows.virial.T
            for total, part in zip(found, (w @ rows.local.T, (w @ rows.forces.T).reshape(len(w), -1, 3))):
                total += part
            found.strain[:] += np.array([voigt_6_to_full_3x3_stress(-v) for v in virial])
        return found._replace(strain=0.5 * (found.strain + found.strain.transpose(0, 2, 1)))


def _contract(
    gap: GAP, block: SparseBlock, nb: Neighbourhoods, numbers: np.ndarray, W: np.ndarray, folds: Sequence[Folds]
) -> tuple[Neighbourhoods, np.ndarray, np.ndarray]:
    """Local energies (n, n_centres) and pair gradients (n, n_pairs, 3) of all weights W from one set of features."""
    work, term = thread_workspace(), kernel_term(gap.terms_, block)
    values, state = term.descriptor.evaluate(nb, numbers, work)
    Q, norm = normalise(values)
    S = inner_products(Q, block.X)
    e, g = np.empty((len(W), len(nb.centres))), np.empty((len(W), len(nb.j), 3))
    for s, (w, fold) in enumerate(zip(W, folds)):
        if block[:2] in fold:
            e[s], x_bar = contract_folded(fold[block[:2]], Q, norm, work)
        else:
            e[s], x_bar = contract_gradient(term.kernel, S.copy(), Q, norm, block.X, w[block.columns], work)
        g[s] = term.descriptor.pullback(state, x_bar, work)
    return nb, e, g


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
    The spread is that of the "sor" covariance: what the data leave open of the weights. The prior residual of the
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
