"""Terms of a model as functions of neighbours: explicit functions of the whole structure rewritten, or refused by name.

A rank of LAMMPS knows its own atoms and their neighbours, not the structure. `Composition` and `InversePowers` are sums
over atoms and pairs and need no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.terms.feature_term import FeatureRows, FeatureTerm, FeatureValues, sum_pairs
from gapkit.terms.linear import Composition, InversePowers, Linear
from gapkit.terms.term import AnyTerm

ANY_REACH = 1.0  # Å, of a term without neighbours


def terms_on_pairs(terms: Sequence[AnyTerm]) -> tuple[AnyTerm, ...]:
    """The terms, each with a reach.

    Raises
    ------
    InputError
        For a term that is a function of the whole structure, as `LongRange`.
    """
    longest = max((term.reach for term in terms if term.reach is not None), default=ANY_REACH)
    return tuple(term if term.reach is not None else _on_pairs(term, longest) for term in terms)


def _on_pairs(term: AnyTerm, longest: float) -> AnyTerm:
    function = term.function if isinstance(term, Linear) else term
    if isinstance(function, Composition | InversePowers):
        return _LinearOnPairs(function, term.delta, getattr(function, "cutoff", longest))
    raise InputError(
        f"the model's term {type(function).__name__} is a function of the whole structure, which no rank of LAMMPS "
        "knows: run it in ASE, or fit without it."
    )


@dataclass(frozen=True)
class _LinearOnPairs(FeatureTerm):
    """`Linear` of a function that is a sum over atoms or pairs, for some centres; same columns, same weights."""

    function: Composition | InversePowers
    delta: float
    cutoff: float

    @property
    def reach(self) -> float:
        return self.cutoff

    def validate(self) -> None:
        self.function.validate()

    def check_species(self, numbers: np.ndarray) -> None:
        self.function.check_species(numbers)

    def select(self, found: Any, random_state: int) -> np.ndarray:
        raise NotImplementedError("a fitted term chooses no sparse points")

    def n_columns(self, X: np.ndarray) -> int:
        return len(X)

    def rows(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Features s_k φ_k of the centres; no derivatives, which only a fit needs."""
        local = np.zeros((len(numbers), len(X)))
        np.add.at(local, neighbourhoods.centres, self._features(neighbourhoods, numbers) * X[:, 0])
        return FeatureRows(local, np.zeros((0, len(X))), np.zeros((6, len(X))))

    def _features(self, nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
        """φ of every centre, (n_centres, n_features)."""
        if isinstance(self.function, Composition):
            return _one_of_each(self.function, numbers[nb.centres])
        values = np.zeros((len(nb.centres), self.function.n_features))
        np.add.at(
            values, np.repeat(np.arange(len(nb.centres)), np.diff(nb.first)), self.function.of_pairs(nb, numbers)[0]
        )
        return values

    def fold(self, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scales and weights, shape (n_features, 2), as of `Linear`."""
        return np.column_stack([X[:, 0], weights])

    def evaluate(self, fold: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> FeatureValues:
        """Σ_k w_k s_k φ_k."""
        weights = fold[:, 0] * fold[:, 1]

        def contribution(nb: Neighbourhoods) -> tuple[np.ndarray, np.ndarray]:
            """Local energies and pair gradients of some centres."""
            energies = self._features(nb, numbers) @ weights
            if isinstance(self.function, Composition):
                return energies, np.zeros((len(nb.j), 3))
            return energies, self.function.of_pairs(nb, numbers)[1] @ weights

        return sum_pairs(contribution, neighbourhoods)


def _one_of_each(function: Composition, numbers: np.ndarray) -> np.ndarray:
    from ase.data import atomic_numbers

    return (numbers[:, None] == np.array([atomic_numbers[s] for s in function.species])).astype(float)
