"""Three-body term: one smooth function of a triangle for each species of a centre and of its two neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Annotated, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import solve_banded

from gapkit._numba import triplets as loops
from gapkit.checks import Positive, check_fields
from gapkit.errors import InputError
from gapkit.gaussian_process.sparsification import select_sparse_points
from gapkit.geometry.neighbourhoods import SHORTEST_DISTANCE, Neighbourhoods
from gapkit.structures.properties import Properties
from gapkit.structures.species import check_known, check_symbols
from gapkit.structures.statistics import DataFacts
from gapkit.terms.feature_term import (
    KEY,
    Candidates,
    FeatureRows,
    FeatureTerm,
    some_names,
    species_index,
    sum_pairs,
)
from gapkit.terms.protocol import term_type
from gapkit.terms.whitening import Whitened, independent, is_stack, split, stack

MESH = 0.25  # of the length scale: triangles nearer than this to one another are one candidate
TRIANGLE = 1600.0  # operations for a triangle in the data and a sparse one, derivatives included: 40 ns
VANISHED = 8.5  # length scales below the nearest sparse triangle: exp(-8.5²/2) = 2e-16


class TripletSum(NamedTuple):
    """Weighted sparse triangles, to be summed at every evaluation: shape (n, 3) and (n,)."""

    points: np.ndarray
    sections: tuple[np.ndarray, np.ndarray]
    weights: np.ndarray


class TripletTable(NamedTuple):
    """Tricubic B-splines of f(r_ij, r_ik, r_jk), one for each triplet of species.

    Attributes
    ----------
    coefficients : ndarray, shape (n_keys, n_r, n_r, n_q), eV
    key : ndarray of int64, shape (n_species, n_species, n_species)
        Which function belongs to a centre and its two neighbours; -1 for none.
    start : ndarray, shape (2,), Å
        First knot of r_ij and r_ik, and of r_jk.
    inverse_step : float, 1/Å
    error : float
        Largest error of f among all cell centres of the tables, eV.
    """

    coefficients: np.ndarray
    key: np.ndarray
    start: np.ndarray
    inverse_step: float
    error: float


@term_type
@dataclass(frozen=True)
class Triplet(FeatureTerm):
    """Σ_i Σ_{j<k} w(r_ij) w(r_ik) f(r_ij, r_ik, r_jk), each f a Gaussian process of the triangle.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols that may occur, in any order. There is one f for each species of the centre and
        unordered pair of those of its neighbours; it is symmetric in neighbours of one species.
    cutoff : float
        Å, of the two neighbours; r_jk may be up to twice that.
    cutoff_width : float
        Å; w falls from 1 to 0 over the last `cutoff_width` before the cutoff, with three continuous derivatives.
    delta : float
        Amplitude δ, eV: the prior standard deviation of the energy of one triplet (within a factor √2).
    length_scale : float
        ℓ, Å: the change of a distance over which f changes.
    n_sparse : int
        Sparse triangles for each triplet of species, chosen by farthest point sampling among those in the data.
    table : float or None
        Step of the table that predictions use, as a fraction of ℓ; None sums the sparse triangles exactly each time.
        A table is an exact gradient of its own energy; its error is in `TripletTable.error`.

    Notes
    -----
    With e(r, r') = exp(-(r - r')²/2ℓ²), the kernel of neighbours of one species is the mean of both orders,
    δ² ½ [e(r_ij, r_ij') e(r_ik, r_ik') + e(r_ij, r_ik') e(r_ik, r_ij')] e(r_jk, r_jk'); of two species, one order.
    The covariance of two triplets is k K_mm⁻¹ k', that of the sparse triangles: a triangle far from all of them (more
    than ℓ or so) has neither energy nor variance.
    """

    species: Sequence[str]
    cutoff: Positive = 4.0
    cutoff_width: Positive = 1.0
    delta: Positive = 0.3
    length_scale: Positive = 1.0
    n_sparse: Annotated[int, Field(ge=1, description="200 is usual")] = 200
    table: Annotated[float, Field(ge=0.02, le=0.5, description="None is for no table")] | None = 0.05

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        check_symbols(self.species, "Triplet")
        check_fields(self)
        if not self.cutoff_width <= self.cutoff:
            raise InputError(f"cutoff_width = {self.cutoff_width} Å must not exceed the cutoff, {self.cutoff} Å.")

    @property
    def reach(self) -> float:
        """The cutoff, Å."""
        return self.cutoff

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that is not among `species`."""
        check_known(numbers, self.species, "Triplet")

    def estimated_columns(self, facts: DataFacts) -> int:
        """Sparse triangles of all triplets of species."""
        n = len(facts.species)
        return int(self.n_sparse) * n * n * (n + 1) // 2

    def estimated_operations(self, facts: DataFacts) -> float:
        """Each triangle is compared with the sparse ones of its own species."""
        n = facts.n_neighbours(self.cutoff)
        return TRIANGLE * facts.n_environments * 0.5 * n * max(n - 1.0, 0.0) * int(self.n_sparse)

    # -- sparse points --------------------------------------------------------------------------------------------

    def offered(self, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Candidates:
        """Triangles (n, 3) by atomic numbers of centre and neighbours, one for each cell of a mesh of ℓ/4."""
        nb, species = neighbourhoods, species_index(self.species)[numbers]
        counts = np.diff(nb.first)
        n = int((counts * (counts - 1) // 2).sum())
        found, key = np.empty((n, 3)), np.empty((n, 3), dtype=np.int64)
        loops.find_triplets(nb.first, nb.centres, nb.j, nb.D, species, found, key)
        known, inverse = np.unique(key, axis=0, return_inverse=True)
        order = np.array(sorted(atomic_numbers[s] for s in self.species))
        return {tuple(order[k].tolist()): self._thinned(found[inverse.ravel() == x]) for x, k in enumerate(known)}

    def _thinned(self, triangles: np.ndarray) -> np.ndarray:
        cells = np.round(triangles / (MESH * self.length_scale)).astype(np.int64)
        return triangles[np.sort(np.unique(cells, axis=0, return_index=True)[1])]

    def _merged(self, found: Sequence[np.ndarray]) -> np.ndarray:
        return self._thinned(np.concatenate(found))

    def unmet(self, found: Candidates) -> str:
        """Centres with two neighbours that no structure has within the cutoff."""
        numbers = sorted(atomic_numbers[s] for s in self.species)
        keys = [(c, a, b) for c in numbers for a, b in combinations_with_replacement(numbers, 2)]
        missing = ["{}({}, {})".format(*(chemical_symbols[z] for z in key)) for key in keys if key not in found]
        names = some_names(missing)
        return names and f"no training frame has {names} within Triplet's {self.cutoff:g} Å: zero energy and variance"

    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """`stack` of the sparse triangles of each triplet of species that occurs."""
        groups = {}
        for key, T in found.items():
            T = T[select_sparse_points(T, min(int(self.n_sparse), len(T)), "fps", random_state)]
            which, W = independent(self._covariance(T, T, key[1] == key[2]))
            groups[key] = T[which], W
        return stack(groups, "Triplet", self.cutoff)

    def _covariance(self, T: np.ndarray, other: np.ndarray, same: bool) -> np.ndarray:
        """k for δ = 1, shape (n, m)."""
        e = np.exp(-0.5 * ((T[:, None, :, None] - other[None, :, None, :]) / self.length_scale) ** 2)  # (n, m, 3, 3)
        k = e[:, :, 0, 0] * e[:, :, 1, 1]
        return (0.5 * (k + e[:, :, 0, 1] * e[:, :, 1, 0]) if same else k) * e[:, :, 2, 2]

    # -- rows and sums --------------------------------------------------------------------------------------------

    def features(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Exact features and derivatives of one structure; each atom has the triplets of which it is the centre."""
        whitened, n, nb = split(X, 3, 3), len(numbers), neighbourhoods
        raw = np.zeros((n, len(X))), np.zeros((3 * n if derivatives else 0, len(X))), np.zeros((6, len(X)))
        loops.triplet_rows(
            nb.first, nb.centres, nb.j, nb.D, loops.radii(nb.D, self.cutoff, self.cutoff_width),
            species_index(self.species)[numbers], *self._sections(whitened), whitened.points,
            self.length_scale, derivatives, *raw,
        )  # fmt: skip
        return FeatureRows(*map(whitened.rows, raw))

    def is_block(self, key: int, X: np.ndarray) -> bool:
        """Whether X can be what `select` gives for these species."""
        return key == KEY and is_stack(X, self.species, 3, 3)

    def _sections(self, whitened: Whitened) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First sparse triangle and one past the last of each triplet of species, the neighbours' in order."""
        n = len(self.species)
        begin, end = np.zeros((2, n, n, n), dtype=np.int64)
        numbers = sorted(atomic_numbers[s] for s in self.species)
        for c in range(n):
            for a, b in combinations_with_replacement(range(n), 2):
                begin[c, a, b], end[c, a, b] = whitened.section((numbers[c], numbers[a], numbers[b]))
        return begin, end

    def fold_features(self, X: np.ndarray, weights: np.ndarray) -> TripletSum | TripletTable:
        """Weights of the sparse triangles, or a table of their sum."""
        whitened = split(X, 3, 3)
        exact = TripletSum(whitened.points, self._sections(whitened), whitened.weights(weights))
        return exact if self.table is None else self._tabulated(exact)

    def _tabulated(self, exact: TripletSum) -> TripletTable:
        (begin, end), l = exact.sections, self.length_scale
        h = float(self.table or 0.0) * l
        lows = np.maximum(exact.points.min(axis=0) - VANISHED * l, SHORTEST_DISTANCE)
        lows = np.array([min(lows[0], lows[1]), lows[2]])
        counts = [int(np.ceil((high - low) / h)) + 1 for low, high in zip(lows, (self.cutoff, 2.0 * self.cutoff))]
        key, tables, error = np.full(begin.shape, -1), [], 0.0
        for where in np.argwhere(end > begin):
            own = slice(begin[tuple(where)], end[tuple(where)])
            T, w, same = exact.points[own], exact.weights[own], where[1] == where[2]
            splines, middles, exacts = zip(
                *(_spline_coefficients(T[:, x], lows[x // 2], h, counts[x // 2], l) for x in range(3))
            )
            tables.append(_product(splines, w, same))
            error = max(error, float(np.abs(_product(middles, w, same) - _product(exacts, w, same)).max()))
            key[tuple(where)] = len(tables) - 1
        return TripletTable(np.stack(tables), key, lows, 1.0 / h, error)

    def evaluate_fold(
        self, fold: TripletSum | TripletTable, neighbourhoods: Neighbourhoods, numbers: np.ndarray
    ) -> Properties:
        """One spline of three variables for each triplet; or a sum over sparse triangles."""
        species = species_index(self.species)[numbers]

        def contribution(nb: Neighbourhoods) -> tuple[np.ndarray, np.ndarray]:
            """Local energies and pair gradients of some centres."""
            e, g = np.zeros(len(nb.centres)), np.empty((len(nb.j), 3))
            R = loops.radii(nb.D, self.cutoff, self.cutoff_width)
            pairs = (nb.first, nb.centres, nb.j, nb.D, R, species)
            if isinstance(fold, TripletSum):
                loops.triplet_sums(*pairs, *fold.sections, fold.points, self.length_scale, fold.weights, e, g)
            else:
                loops.triplet_table_sums(*pairs, fold.key, fold.coefficients, fold.start, fold.inverse_step, e, g)
            return e, g

        return sum_pairs(contribution, neighbourhoods)


def _spline_coefficients(
    a: np.ndarray, low: float, h: float, n: int, length: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uniform cubic B-splines of exp(-(r - a)²/2ℓ²) with its slopes at both ends; the splines and exp half-way.

    Shapes (n + 2, M), (n - 1, M), (n - 1, M) for n knots.
    """

    def gauss(r: np.ndarray) -> np.ndarray:
        """Shape (n_r, M)."""
        return np.asarray(np.exp(-0.5 * ((r[:, None] - a) / length) ** 2))

    knots = low + h * np.arange(n)
    ends = np.array([low, knots[-1]])
    slopes = -gauss(ends) * (ends[:, None] - a) / length**2 * h
    y = np.vstack([slopes[:1], gauss(knots), slopes[1:]])
    band = np.zeros((5, n + 2))  # rows: second and first superdiagonal, diagonal, first and second subdiagonal
    band[1, 2:], band[2, 1:-1], band[3, :-2] = 1 / 6, 4 / 6, 1 / 6
    band[0, 2], band[2, 0], band[2, -1], band[4, -3] = 0.5, -0.5, 0.5, -0.5
    c = solve_banded((2, 2), band, y)
    return c, (c[:-3] + 23 * c[1:-2] + 23 * c[2:-1] + c[3:]) / 48, gauss(knots[:-1] + 0.5 * h)


def _product(factors: Sequence[np.ndarray], weights: np.ndarray, same: bool) -> np.ndarray:
    """Σ_m weights_m A_am B_bm C_cm (n_a, n_b, n_c); the mean with a and b exchanged if `same`."""
    A, B, C = factors
    table = ((A[:, None] * B * weights).reshape(-1, len(weights)) @ C.T).reshape(len(A), len(B), len(C))
    return 0.5 * (table + table.transpose(1, 0, 2)) if same else table
