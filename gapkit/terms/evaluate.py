"""A potential evaluated at one structure: terms with local energies group by group, all others one after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from gapkit._numba.kernels import pair_forces
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.structures.properties import Properties
from gapkit.terms.basis import Environments
from gapkit.terms.environment_sums import LARGEST_BLOCK, SMALLEST_BLOCK, add_part, centre_groups
from gapkit.terms.protocol import AdditiveTerm, CentreTerm, Folds
from gapkit.terms.records import LocalVariance, Part, Scatter, SparseBlock, StructureRows

GROUP = 64  # centres whose features are shared by all sets of weights at one time

Placed = tuple[AdditiveTerm, list[SparseBlock], Neighbourhoods]


def evaluate(environments: Environments, alpha: np.ndarray, folds: Folds | None = None) -> Properties:
    """Energies, forces and strain derivative of Σ_t Σ_i Σ_m α_m k_t(x_i, m).

    Parameters
    ----------
    environments : Environments
        Functions and structure.
    alpha : ndarray, shape (n_columns,)
        Weights.
    folds : mapping, optional
        From `Basis.fold` with the same `alpha`.
    """
    return _evaluate(environments, alpha, folds, None)[0]


def evaluate_with_variance(
    environments: Environments, alpha: np.ndarray, local_variance: LocalVariance, folds: Folds | None = None
) -> tuple[Properties, np.ndarray]:
    """The same, and the posterior variances of the local energies, shape (n_atoms,), eV²."""
    properties, variance = _evaluate(environments, alpha, folds, local_variance)
    assert variance is not None
    return properties, variance


def _evaluate(
    environments: Environments, alpha: np.ndarray, folds: Folds | None, local_variance: LocalVariance | None
) -> tuple[Properties, np.ndarray | None]:
    numbers, folds = environments.numbers, folds or {}
    by_centre, others = _kinds(environments)
    total, wanted = Properties.zeros(len(numbers)), local_variance is not None
    variance = np.zeros(len(numbers)) if wanted else None
    shared = _covariances(others, numbers, environments.basis.n_columns) if wanted else []

    def contributions(which: np.ndarray) -> tuple[list[Part], np.ndarray | None]:
        """All terms for one group of centres and, if asked for, the variances of its local energies."""
        placed = [(term, blocks, nb.select(which)) for term, blocks, nb in by_centre]
        found = [term.contribution(blocks, alpha, folds, nb, numbers, wanted) for term, blocks, nb in placed]
        parts = [part for part in found if part is not None]
        if local_variance is None:
            return parts, None
        return parts, _variance(local_variance, parts, shared, centres[which])

    centres = environments.neighbourhoods[0].centres
    size = min(max(-(-len(centres) // 4), SMALLEST_BLOCK), LARGEST_BLOCK)
    groups = centre_groups(centres, numbers, size) if by_centre else []
    if wanted and not by_centre:  # any groups will do
        groups = [np.arange(start, min(start + size, len(centres))) for start in range(0, len(centres), size)]
    for which, (parts, local) in zip(groups, ordered_map(contributions, groups)):
        for part in parts:
            add_part(total, part)
        if variance is not None:
            variance[centres[which]] = local
    for term, blocks, nb in others:
        own = term.evaluate(blocks, alpha, folds, nb, numbers)
        for mine, theirs in zip(total[1:], own[1:]):
            mine += theirs
    strain = total.strain_derivative
    energy = float(total.local_energies.sum())
    return total._replace(energy=energy, strain_derivative=0.5 * (strain + strain.T)), variance


def _kinds(
    environments: Environments,
) -> tuple[list[tuple[CentreTerm, list[SparseBlock], Neighbourhoods]], list[Placed]]:
    """Terms that have blocks, with these and their neighbourhoods: those evaluated by centres, and the others."""
    by_centre, others = [], []
    for term, blocks, nb in environments.of_terms:
        if blocks and isinstance(term, CentreTerm):
            by_centre.append((term, blocks, nb))
        elif blocks:
            others.append((term, blocks, nb))
    return by_centre, others


Covariances = tuple[tuple[slice, ...], np.ndarray, np.ndarray]  # columns, k(x_i, m) of these, k(x_i, x_i)


def _covariances(others: Sequence[Placed], numbers: np.ndarray, n_columns: int) -> list[Covariances]:
    """Covariances of all atoms, term by term."""
    found = []
    for term, blocks, nb in others:
        rows, columns = np.zeros((len(numbers), n_columns)), tuple(block.columns for block in blocks)
        term.add_local_rows(blocks, nb, numbers, rows)
        own = np.concatenate([rows[:, c] for c in columns], axis=1)
        found.append((columns, own, term.local_prior(blocks, nb, numbers)))
    return found


def _variance(
    local_variance: LocalVariance, parts: Sequence[Part], shared: Sequence[Covariances], atoms: np.ndarray
) -> np.ndarray:
    """Variances of the local energies of some atoms, from the covariances of centre terms and all others."""
    known = [(part.columns, part.K, part.k_ii) for part in parts]
    known += [(columns, K[atoms], k_ii[atoms]) for columns, K, k_ii in shared]
    if not known:
        return np.zeros(len(atoms))
    K = known[0][1] if len(known) == 1 else np.concatenate([K for _, K, _ in known], axis=1)
    k_ii = sum(k_ii for _, _, k_ii in known)
    return local_variance(K, np.asarray(k_ii), tuple(c for columns, _, _ in known for c in columns))


# ---- many sets of weights


def rows_are_cheaper(environments: Environments, n_members: int) -> bool:
    """Whether rows take fewer operations than one contraction for each of `n_members` sets of weights."""
    by_rows = by_members = 0.0
    for term, blocks, nb in _kinds(environments)[0]:
        rows, members = term.operations(blocks, len(nb.j) / nb.n_atoms, n_members)
        by_rows, by_members = by_rows + rows, by_members + members
    return by_rows < by_members


def evaluate_many(environments: Environments, weights: np.ndarray) -> Scatter:
    """Sums for many sets of weights (n, n_columns) from one set of features."""
    numbers, n = environments.numbers, len(weights)
    by_centre, others = _kinds(environments)
    folds = [environments.basis.fold(w) for w in weights] if by_centre else []
    found = Scatter(np.zeros((n, len(numbers))), np.zeros((n, len(numbers), 3)), np.zeros((n, 3, 3)))
    groups = centre_groups(environments.neighbourhoods[0].centres, numbers, GROUP)
    pieces = [(term, blocks, nb.select(which)) for which in groups for term, blocks, nb in by_centre]
    results = ordered_map(lambda p: (p[2], p[0].contributions(p[1], weights, folds, p[2], numbers)), pieces)
    for nb, result in results:
        if result is None:
            continue
        found.local_energies[:, nb.centres] += result[0]
        for s, g in enumerate(result[1]):
            pair_forces(nb.centres, nb.first, nb.j, nb.D, g, found.forces[s], found.strain[s])
    for placed in others:
        _add_rows(placed, weights, numbers, found)
    return found._replace(strain=0.5 * (found.strain + found.strain.transpose(0, 2, 1)))


def _add_rows(placed: Placed, weights: np.ndarray, numbers: np.ndarray, found: Scatter) -> None:
    """A term whose rows are made once and multiplied with all weights."""
    term, blocks, nb = placed
    n_atoms, M = len(numbers), weights.shape[1]
    rows = StructureRows(np.zeros(M), np.zeros((3 * n_atoms, M)), np.zeros((6, M)))
    local = np.zeros((n_atoms, M))
    term.add_rows(blocks, nb, numbers, rows)
    term.add_local_rows(blocks, nb, numbers, local)
    for block in blocks:
        w, c = weights[:, block.columns], block.columns
        found.local_energies[:] += w @ local[:, c].T
        found.forces[:] += (w @ rows.forces[:, c].T).reshape(len(w), -1, 3)
        found.strain[:] += np.array([voigt_6_to_full_3x3_stress(-v) for v in w @ rows.virial[:, c].T])
