"""Terms with explicit features of a structure instead of a descriptor and a kernel.

    E_t = Σ_k w_k φ_k,   w ~ N(0, δ² I),   φ_k = Σ_i φ_ik

so that K_mm = δ² I and the rows of K_nm are δ² times the functionals of φ. The prior covariance of two functionals is
δ² φ_t·φ_t': what the features do not span has no variance. Sparse points, posterior and evidence treat the columns like
those of any other term.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers

from gapkit._numba.kernels import pair_forces
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.threads import ordered_map
from gapkit.structures.properties import Properties
from gapkit.terms.protocol import LAST, AdditiveTerm, DerivativePart, Folds
from gapkit.terms.records import Functionals, PriorSum, SparseBlock, StructureRows

NAMED = 6  # names listed in a message
KEY = 0  # of the one block
BLOCK = 256  # centres per task of a thread

Key = tuple[int, ...]
Candidates = Mapping[Key, np.ndarray]


class FeatureRows(NamedTuple):
    """Features of one structure and minus their derivatives, for δ = 1.

    Attributes
    ----------
    local : ndarray, shape (n_atoms, n_columns)
        φ_ik, each atom's share; the energy row is the sum.
    forces : ndarray, shape (3 n_atoms, n_columns), 1/Å
        -∂φ/∂r; no rows if they were not asked for.
    virial : ndarray, shape (6, n_columns)
        -∂φ/∂ε, xx yy zz yz xz xy.
    """

    local: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class FeatureTerm(AdditiveTerm):
    """A term E_t = Σ_k w_k φ_k(structure) with the prior w ~ N(0, δ² I), in one block.

    A subclass defines its features (`offered`, `select`, `features`) and the cheapest form of their sum
    (`fold_features`, `evaluate_fold`); covariances follow from the features.
    """

    # -- features -------------------------------------------------------------------------------------------------

    def offered(self, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Candidates:
        """What one structure offers for the choice of sparse points, by atomic numbers."""
        del neighbourhoods, numbers
        return {}

    def merge(self, a: Candidates, b: Candidates) -> Candidates:
        """Candidates of two sets of structures as one, in bounded memory."""
        return {key: self._merged([x[key] for x in (a, b) if key in x]) for key in sorted({*a, *b})}

    def _merged(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """The candidates of one key that are kept."""
        return np.concatenate(found)

    def unmet(self, found: Candidates) -> str:
        """What the term cannot learn, as no structure has it, and its prediction there; empty if nothing is missing."""
        del found
        return ""

    @abstractmethod
    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """Array X that defines the columns and is stored with the model, from the candidates of all structures."""

    @abstractmethod
    def features(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Features of one structure; force and virial rows are zero unless `derivatives`."""

    @abstractmethod
    def fold_features(self, X: np.ndarray, weights: np.ndarray) -> Any:
        """Σ_k w_k φ_k in the form that is cheapest to evaluate."""

    @abstractmethod
    def evaluate_fold(self, fold: Any, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Properties:
        """Local energies, forces and strain derivative of a fold."""

    # -- methods of every term ------------------------------------------------------------------------------------

    def candidates(self, nb: Neighbourhoods, numbers: np.ndarray) -> Iterator[tuple[int, Candidates]]:
        """`offered`, for the one block."""
        yield KEY, self.offered(nb, numbers)

    def pool(self, key: int, random_state: int, n_bytes: int) -> FeaturePool:
        """Candidates of all structures."""
        del key, n_bytes  # candidates are merged in bounded memory
        return FeaturePool(self, random_state)

    def K_mm(self, blocks: Sequence[SparseBlock]) -> np.ndarray:
        """δ² I."""
        return self.delta**2 * np.eye(sum(self.n_columns(block.X) for block in blocks))

    def add_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: StructureRows
    ) -> None:
        """δ² times the functionals of φ."""
        for block in blocks:
            phi = self.features(block.X, nb, numbers, rows.has_derivatives)
            for K, part in zip(rows, (phi.local.sum(axis=0), phi.forces, phi.virial)):
                K[..., block.columns] = self.delta**2 * part

    def add_local_rows(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, rows: np.ndarray
    ) -> None:
        """δ² φ_ik."""
        for block, phi in self._local(blocks, nb, numbers):
            rows[:, block.columns] = self.delta**2 * phi

    def _local(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterator[tuple[SparseBlock, np.ndarray]]:
        for block in blocks:
            yield block, self.features(block.X, nb, numbers, derivatives=False).local

    def local_prior(self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
        """δ² Σ_k φ_ik²."""
        prior = np.zeros(len(numbers))
        for _, phi in self._local(blocks, nb, numbers):
            prior += self.delta**2 * np.einsum("ik,ik->i", phi, phi)
        return prior

    def energy_prior(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray
    ) -> Iterator[tuple[int, float]]:
        """δ² Σ_k φ_k²."""
        for _, local in self._local(blocks, nb, numbers):
            phi = local.sum(axis=0)
            yield LAST, self.delta**2 * float(phi @ phi)

    def derivative_parts(
        self, blocks: Sequence[SparseBlock], nb: Neighbourhoods, numbers: np.ndarray, order: np.ndarray
    ) -> list[DerivativePart]:
        """Derivatives of the features."""
        found: list[DerivativePart] = []
        for block in blocks:
            rows = self.features(block.X, nb, numbers)
            forces = -self.delta * rows.forces.reshape(len(numbers), 3, -1)[order]
            found.append(FeatureDerivatives(block.columns, self.delta, forces, -self.delta * rows.virial))
        return found

    def add_prior(self, blocks: Sequence[SparseBlock], functionals: Sequence[Functionals], total: PriorSum) -> None:
        """δ² φ_t·φ_t'."""
        n = len(total.K_tt)
        for block in blocks:
            rows = self._functionals(block, functionals, n) / self.delta
            np.add(total.K_tt, rows @ rows.T, out=total.K_tt)
            lengths = np.sqrt(np.einsum("tm,tm->t", rows, rows))
            # functionals that vanish by symmetry hold round-off of those that do not
            total.largest_std[:] += lengths + 1e-6 * lengths.max(initial=0.0)

    def _functionals(self, block: SparseBlock, functionals: Sequence[Functionals], n: int) -> np.ndarray:
        """δ² φ_tk of all functionals, shape (n, n_columns)."""
        K = np.zeros((n, self.n_columns(block.X)))
        for f in functionals:
            phi = self.features(block.X, f.neighbourhoods[block.term], f.numbers, f.has_derivatives)
            kinds = (f.energy, phi.local.sum(axis=0)[None]), (f.local_energies, phi.local)
            for first, of_kind in (*kinds, (f.forces, phi.forces), (f.virial, phi.virial)):
                if first >= 0:
                    K[first : first + len(of_kind)] = self.delta**2 * of_kind
        return K

    def fold(self, X: np.ndarray, alpha: np.ndarray) -> Any:
        """`fold_features` with w = δ² α."""
        return self.fold_features(X, self.delta**2 * alpha)

    def evaluate(
        self, blocks: Sequence[SparseBlock], alpha: np.ndarray, folds: Folds, nb: Neighbourhoods, numbers: np.ndarray
    ) -> Properties:
        """Σ_k w_k φ_k."""
        total = Properties.zeros(len(numbers))
        for block in blocks:
            known = folds.get(block[:2])
            fold = self.fold(block.X, alpha[block.columns]) if known is None else known
            total = total.plus(self.evaluate_fold(fold, nb, numbers))
        return total


class FeatureDerivatives(NamedTuple):
    """Derivatives of the features of one block, times δ.

    Attributes
    ----------
    own : slice
        Columns.
    delta : float
        δ: the rows K_tm are δ times `forces` and `strain`.
    forces : ndarray, shape (n_atoms, 3, n_columns)
        δ ∂φ/∂r, atoms by rank.
    strain : ndarray, shape (6, n_columns)
        δ ∂φ/∂ε.
    """

    own: slice
    delta: float
    forces: np.ndarray
    strain: np.ndarray

    @property
    def columns(self) -> tuple[slice, ...]:
        """Columns of the block."""
        return (self.own,)

    def memory(self) -> np.ndarray:
        """Zero: the derivatives are held already."""
        return np.zeros(len(self.forces) + 1, dtype=np.int64)

    def add_atoms(self, low: int, high: int, rows: np.ndarray, prior: np.ndarray) -> float:
        """∂E/∂r of the atoms of ranks low to high."""
        rows[..., self.own] = self.delta * self.forces[low:high]
        prior += np.einsum("nak,nak->na", self.forces[low:high], self.forces[low:high])
        return 0.0

    def add_strains(self, rows: np.ndarray, prior: np.ndarray) -> None:
        """∂E/∂ε."""
        rows[:, self.own] = self.delta * self.strain
        prior += np.einsum("vk,vk->v", self.strain, self.strain)


class FeatureReport(NamedTuple):
    """Number of features selected, and of candidates.

    Attributes
    ----------
    n_selected, n_candidates : int
        Features; candidates, of all species together.
    unmet : str
        From `FeatureTerm.unmet`.
    """

    n_selected: int
    n_candidates: int
    unmet: str = ""

    def __str__(self) -> str:
        source = f" from {self.n_candidates} candidate{'s'[: self.n_candidates != 1]}" if self.n_candidates else ""
        return f"{self.n_selected} features{source}" + (f"; {self.unmet}" if self.unmet else "")


class FeaturePool:
    """Candidates of all structures for the one block of a `FeatureTerm`.

    Parameters
    ----------
    term : FeatureTerm
    random_state : int
    """

    def __init__(self, term: FeatureTerm, random_state: int) -> None:
        self.term, self.random_state = term, random_state
        self.found: Candidates = {}

    def add(self, found: Candidates) -> None:
        """Add the candidates of one structure."""
        self.found = self.term.merge(self.found, found)

    def merge(self, other: FeaturePool) -> None:
        """Add the candidates of `other`, as if its stream came after this one."""
        self.add(other.found)

    def thin(self) -> None:
        """Do nothing: candidates are merged in bounded memory."""

    def choose(self) -> tuple[np.ndarray, FeatureReport]:
        """Array X that defines the columns, and a report of the choice."""
        X = self.term.select(self.found, self.random_state)
        n_candidates = sum(len(x) for x in self.found.values())
        return X, FeatureReport(self.term.n_columns(X), n_candidates, self.term.unmet(self.found))


def sum_pairs(
    contribution: Callable[[Neighbourhoods], tuple[np.ndarray, np.ndarray]], neighbourhoods: Neighbourhoods
) -> Properties:
    """Energies and forces from a function that gives the local energies and pair gradients of some centres."""
    n, n_atoms = len(neighbourhoods.centres), neighbourhoods.n_atoms
    values = Properties.zeros(n_atoms)
    parts = (neighbourhoods.select(np.arange(start, min(start + BLOCK, n))) for start in range(0, n, BLOCK))
    for nb, (e, g) in ordered_map(lambda nb: (nb, contribution(nb)), parts):
        values.local_energies[nb.centres] += e
        pair_forces(nb.centres, nb.first, nb.j, nb.D, g, values.forces, values.strain_derivative)
    return values._replace(energy=float(values.local_energies.sum()))


def some_names(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def species_index(species: Sequence[str]) -> np.ndarray:
    """Position in `species` sorted by atomic number, by atomic number; -1 for all others."""
    index = np.full(len(atomic_numbers), -1, dtype=np.int64)
    index[sorted(atomic_numbers[s] for s in species)] = np.arange(len(species))
    return index
