"""Two-body term: one smooth function of the distance for each pair of species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Annotated, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from pydantic import Field

from gapkit._numba import distances as loops
from gapkit.checks import Positive, check_fields
from gapkit.errors import InputError, did_you_mean
from gapkit.geometry.distances import pair_name
from gapkit.geometry.neighbourhoods import SHORTEST_DISTANCE, Neighbourhoods
from gapkit.geometry.splines import refined_table
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

TRANSFORMS = ("distance", "logarithm", "inverse")
SPACING = 0.5  # of the length scale: at this step a grid explains all but 5e-6 of the variance up to its ends
MARGIN = 0.8  # the grid begins at this fraction of the shortest distance in the data
TABLE_ERROR = 1e-12  # of the largest value of a folded function, besides the round-off of its sum
MOST_STEPS = 20_000
VANISHED = 8.5  # length scales from the nearest sparse point: exp(-8.5²/2) = 2e-16


class PairTable(NamedTuple):
    """Folded pair functions f(t), taper not included, as quintic Hermite splines on one grid of t.

    Attributes
    ----------
    values : ndarray, shape (n_pairs_of_species, n_knots, 3), eV
        f, h f', h² f'' at the knots.
    key : ndarray of int64, shape (n_species, n_species)
        Which function belongs to two species; -1 for none.
    start, inverse_step : float
        First knot and 1/h, Å and 1/Å.
    error : float
        Largest error of a function half-way between knots, eV.
    """

    values: np.ndarray
    key: np.ndarray
    start: float
    inverse_step: float
    error: float


@term_type
@dataclass(frozen=True)
class Pair(FeatureTerm):
    """Σ_{i<j} w(r_ij) f_{Z_i Z_j}(r_ij), each f a Gaussian process of the distance.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols that may occur, in any order.
    cutoff : float
        Å; no interaction beyond it.
    cutoff_width : float
        Å; w falls from 1 to 0 over the last `cutoff_width` before the cutoff, with three continuous derivatives.
    delta : float
        Amplitude δ, eV: the prior standard deviation of the energy of one pair.
    length_scale : float
        ℓ, Å at the cutoff: the distance over which f changes.
    transform : {"distance", "logarithm", "inverse"}
        Variable t of the kernel δ² exp(-(t - t')²/2ℓ²): r; c ln(r/c), which makes the length at r equal ℓ r/c; -c²/r,
        which makes it ℓ (r/c)². c is the cutoff.
    n_sparse : int, optional
        Sparse points for each pair of species, at equal steps of t; if not given, steps of ℓ/2.
    shortest : float, optional
        Å; where the sparse points begin; if not given, at 0.8 of the shortest distance in the data. Far below it
        (several ℓ) f and its variance vanish: only a baseline keeps atoms apart there.

    Notes
    -----
    With steps of ℓ/2 the sparse points explain all but 5e-6 of the prior variance next to `shortest` and the cutoff,
    all but 1e-7 between: the covariance of two pairs, for which k K_mm⁻¹ k' is used, is then that of the full Gaussian
    process. The two-body term of GAP: Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015), section 3.1.
    """

    species: Sequence[str]
    cutoff: Positive = 5.0
    cutoff_width: Positive = 1.0
    delta: Positive = 1.0
    length_scale: Positive = 1.0
    transform: str = "logarithm"
    n_sparse: Annotated[int, Field(ge=2)] | None = None
    shortest: float | None = None

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        check_symbols(self.species, "Pair")
        check_fields(self)
        if self.transform not in TRANSFORMS:
            meant = did_you_mean(str(self.transform), TRANSFORMS)
            raise InputError(f"transform = {self.transform!r} is unknown{meant}.")
        if not self.cutoff_width <= self.cutoff:
            raise InputError(f"cutoff_width = {self.cutoff_width} Å must not exceed the cutoff, {self.cutoff} Å.")
        if self.shortest is not None and not SHORTEST_DISTANCE <= self.shortest < self.cutoff:
            raise InputError(
                f"shortest = {self.shortest} Å must lie between {SHORTEST_DISTANCE} Å and the cutoff, {self.cutoff} Å."
            )

    @property
    def reach(self) -> float:
        """The cutoff, Å."""
        return self.cutoff

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that is not among `species`."""
        check_known(numbers, self.species, "Pair")

    def transformed(self, r: np.ndarray) -> np.ndarray:
        """t(r), Å."""
        r = np.asarray(r, dtype=float)
        if self.transform == "logarithm":
            return self.cutoff * np.log(r / self.cutoff)
        return -(self.cutoff**2) / r if self.transform == "inverse" else r

    def estimated_columns(self, facts: DataFacts) -> int:
        """Sparse points of all pairs of species."""
        return sum(self._estimated(pair_name(*p), facts) for p in combinations_with_replacement(facts.species, 2))

    def _estimated(self, pair: str, facts: DataFacts) -> int:
        shortest = facts.shortest.get(pair, self.cutoff)
        low, high = self.transformed(np.array([0.8 * min(shortest, self.cutoff), self.cutoff])).tolist()
        return int(self.n_sparse or np.ceil((high - low) / (SPACING * self.length_scale)) + 1)

    # -- sparse points --------------------------------------------------------------------------------------------

    def offered(self, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Candidates:
        """Shortest distance (1,) of each pair of atomic numbers within the cutoff."""
        r = np.linalg.norm(neighbourhoods.D, axis=1)
        pairs = np.sort(numbers[np.column_stack([neighbourhoods.i, neighbourhoods.j])], axis=1)
        keys = combinations_with_replacement(np.unique(pairs).tolist(), 2)
        found = {key: r[np.all(pairs == key, axis=1)] for key in keys}
        return {key: distances.min(keepdims=True) for key, distances in found.items() if len(distances)}

    def _merged(self, found: Sequence[np.ndarray]) -> np.ndarray:
        return np.minimum.reduce(list(found))

    @property
    def _keys(self) -> list[tuple[int, ...]]:
        return list(combinations_with_replacement(sorted(atomic_numbers[s] for s in self.species), 2))

    def unmet(self, found: Candidates) -> str:
        """Pairs of species that no structure has within the cutoff."""
        missing = ["{}-{}".format(*(chemical_symbols[z] for z in key)) for key in self._keys if key not in found]
        names = some_names(missing)
        return names and f"no training frame has {names} within Pair's {self.cutoff:g} Å: zero energy, prior variance"

    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """`stack` of a grid of t for each pair of species; for one that never occurs from MARGIN of its bond length."""
        groups = {}
        for key in self._keys if found else []:
            bond = min(float(covalent_radii[list(key)].sum()), 0.5 * self.cutoff)
            shortest = float(found[key][0]) if key in found else bond
            t = self._grid(self.shortest or max(MARGIN * shortest, SHORTEST_DISTANCE))
            which, W = independent(np.exp(-0.5 * ((t[:, None] - t) / self.length_scale) ** 2))
            groups[key] = t[which, None], W
        return stack(groups, "Pair", self.cutoff)

    def _grid(self, shortest: float) -> np.ndarray:
        low, high = self.transformed(np.array([shortest, self.cutoff])).tolist()
        n = self.n_sparse or int(np.ceil((high - low) / (SPACING * self.length_scale))) + 1
        return np.linspace(low, high, max(int(n), 2))

    # -- rows and sums --------------------------------------------------------------------------------------------

    def features(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Exact features and derivatives of one structure; each atom has half of its pairs."""
        whitened, n, nb = split(X, 2, 1), len(numbers), neighbourhoods
        begin, end = self._sections(whitened)
        raw = np.zeros((n, len(X))), np.zeros((3 * n if derivatives else 0, len(X))), np.zeros((6, len(X)))
        loops.pair_rows(
            nb.first, nb.centres, nb.j, nb.D, species_index(self.species)[numbers], begin, end,
            whitened.points[:, 0], self.length_scale, self.cutoff, self.cutoff_width,
            TRANSFORMS.index(self.transform), derivatives, *raw,
        )  # fmt: skip
        return FeatureRows(*map(whitened.rows, raw))

    def is_block(self, key: int, X: np.ndarray) -> bool:
        """Whether X can be what `select` gives for these species."""
        return key == KEY and is_stack(X, self.species, 2, 1)

    def _sections(self, whitened: Whitened) -> tuple[np.ndarray, np.ndarray]:
        """First sparse point and one past the last of each pair of species (n_species, n_species)."""
        begin, end = np.zeros((2, len(self.species), len(self.species)), dtype=np.int64)
        numbers = sorted(atomic_numbers[s] for s in self.species)
        for a, b in np.ndindex(begin.shape):
            begin[a, b], end[a, b] = whitened.section(sorted((numbers[a], numbers[b])))
        return begin, end

    def fold_features(self, X: np.ndarray, weights: np.ndarray) -> PairTable:
        """One spline for each pair of species, as coarse as an error of 1e-12 of its largest value allows."""
        whitened = split(X, 2, 1)
        points, weights, (begin, end) = whitened.points[:, 0], whitened.weights(weights), self._sections(whitened)
        sections, key = np.unique(np.stack([begin, end], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
        key = np.where(end > begin, key.reshape(begin.shape), -1)
        low, high = self.transformed(np.array([SHORTEST_DISTANCE, self.cutoff])).tolist()
        low, step = max(low, float(points.min()) - VANISHED * self.length_scale), 0.25 * self.length_scale
        length, round_off = high - low, 1e-15 * np.abs(weights).sum()

        def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
            h = length / n
            t = low + 0.5 * h * np.arange(2 * n + 1)
            y = np.stack([self._functions(t, points[a:b], weights[a:b], h) for a, b in sections], axis=2)
            return y[::2], y[1::2, 0]

        y, error = refined_table(
            sample, lambda y0: TABLE_ERROR * np.abs(y0).max() + round_off, length, step, MOST_STEPS
        )
        return PairTable(np.ascontiguousarray(np.moveaxis(y, 2, 0)), key, low, 1.0 / (length / (len(y) - 1)), error)

    def _functions(self, t: np.ndarray, points: np.ndarray, weights: np.ndarray, h: float) -> np.ndarray:
        """f, h f', h² f'' of f(t) = Σ_m weights_m exp(-(t - t_m)²/2ℓ²), shape (n_t, 3)."""
        z = (t[:, None] - points) / self.length_scale
        k, h = np.exp(-0.5 * z * z) * weights, h / self.length_scale
        return np.stack([k.sum(axis=1), -h * (z * k).sum(axis=1), h * h * ((z * z - 1.0) * k).sum(axis=1)], axis=1)

    def evaluate_fold(self, fold: PairTable, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Properties:
        """At the cost of a pair potential: one spline per pair."""
        species = species_index(self.species)[numbers]

        def contribution(nb: Neighbourhoods) -> tuple[np.ndarray, np.ndarray]:
            """Local energies and pair gradients of some centres."""
            e, g = np.zeros(len(nb.centres)), np.empty((len(nb.j), 3))
            loops.pair_energies(
                nb.first, nb.centres, nb.j, nb.D, species, fold.key, fold.values, fold.start, fold.inverse_step,
                self.cutoff, self.cutoff_width, TRANSFORMS.index(self.transform), e, g,
            )  # fmt: skip
            return e, g

        return sum_pairs(contribution, neighbourhoods)
