"""Linear terms of functions that are sums over atoms or pairs, for some centres with their neighbours alone.

A rank of LAMMPS knows its own atoms and their neighbours, not the structure that a `Linear` term is a function of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.structures.properties import Properties
from gapkit.terms.feature_functions import Composition, InversePowers
from gapkit.terms.feature_term import Candidates, FeatureRows, FeatureTerm, sum_pairs


@dataclass(frozen=True)
class LinearOnPairs(FeatureTerm):
    """`Linear` of a function that is a sum over atoms or pairs, for some centres; same columns, same weights."""

    function: Composition | InversePowers
    delta: float
    cutoff: float

    @property
    def reach(self) -> float:
        """The cutoff, Å."""
        return self.cutoff

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        self.function.validate()

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the function does not know."""
        self.function.check_species(numbers)

    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """Scales of one: nothing is chosen from data."""
        return np.ones((self.function.n_features, 1))

    def features(
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

    def fold_features(self, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scales and weights, shape (n_features, 2), as of `Linear`."""
        return np.column_stack([X[:, 0], weights])

    def evaluate_fold(self, fold: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Properties:
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
    return (numbers[:, None] == np.array([atomic_numbers[s] for s in function.species])).astype(float)
