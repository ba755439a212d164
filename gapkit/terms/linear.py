"""Linear terms: explicit functions of a whole structure, with values and derivatives, and a Gaussian prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from typing_extensions import TypedDict

from gapkit.checks import Positive, build, check_fields, check_keys, checked
from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.quantities import VOIGT
from gapkit.structures.properties import Properties
from gapkit.structures.statistics import DataFacts
from gapkit.terms.feature_functions import FUNCTIONS, Composition, FeatureFunction, Features, InversePowers
from gapkit.terms.feature_term import KEY, Candidates, FeatureRows, FeatureTerm
from gapkit.terms.linear_on_pairs import LinearOnPairs
from gapkit.terms.protocol import AdditiveTerm, as_dict, term_type
from gapkit.terms.records import SparseBlock

KEYS = ("type", "function", "delta", "scales")


class LinearPrior(TypedDict, total=False):
    """The plain parameters of a linear term."""

    delta: float
    scales: list[float] | None


@term_type
@dataclass(frozen=True)
class Linear(FeatureTerm):
    """Σ_k w_k φ_k(structure) with w_k ~ N(0, (δ s_k)²): explicit features in the same posterior as everything else.

    Parameters
    ----------
    function : FeatureFunction
        `Composition`, `InversePowers` or a frozen dataclass of your own under `feature_function`.
    delta : float
        Amplitude δ, eV per unit of a feature.
    scales : sequence of float, optional
        s_k, one for each feature; 1 if not given.

    Notes
    -----
    Bayesian linear regression: exact, no sparse points. Structures with the same features get the same energy, and
    the term gives their difference no variance.
    """

    function: FeatureFunction
    delta: Positive = 1.0
    scales: Sequence[Positive] | None = None

    species_part: ClassVar[str | None] = "function"

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        if isinstance(self.function, type) or not isinstance(self.function, FeatureFunction):
            raise InputError(
                f"function = {self.function!r} of Linear must have n_features, validate, check_species and be "
                "callable, for example Composition(['Si'])."
            )
        self.function.validate()
        check_fields(self)
        if self.scales is not None and len(self.scales) != self.function.n_features:
            raise InputError(
                f"Linear has {len(self.scales)} scales for {self.function.n_features} features: give one for each."
            )

    @property
    def reach(self) -> None:
        """None: the function sees the whole structure."""
        return

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the function does not know."""
        self.function.check_species(numbers)

    def on_pairs(self, longest: float) -> AdditiveTerm | None:
        """`LinearOnPairs` for a function that is a sum over atoms or pairs."""
        if not isinstance(self.function, Composition | InversePowers):
            return None
        return LinearOnPairs(self.function, self.delta, getattr(self.function, "cutoff", longest))

    @property
    def label(self) -> str:
        """Class of the function."""
        return type(self.function).__name__

    def to_dict(self) -> dict[str, Any]:
        """Parameters as JSON-serialisable data."""
        scales = None if self.scales is None else [float(s) for s in self.scales]
        return {"type": "Linear", "function": as_dict(self.function), "delta": self.delta, "scales": scales}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Self:
        """The inverse of `to_dict`; missing keys take the defaults, unknown ones are refused at the place `where`."""
        check_keys(data, KEYS, where)
        if not isinstance(data.get("function"), Mapping) or "type" not in data["function"]:
            raise InputError(
                f"{where} has no function: add for example 'function: {{type: Composition, species: [Si]}}'."
            )
        function = build(FUNCTIONS, data["function"], f"{where}.function", "")
        rest = {key: data[key] for key in ("delta", "scales") if key in data}
        return cls(function, **checked(LinearPrior, rest, where))

    def estimated_columns(self, facts: DataFacts) -> int:
        """Number of features."""
        del facts
        return self.function.n_features

    def is_block(self, key: int, X: np.ndarray) -> bool:
        """Whether X holds one scale for each feature."""
        return key == KEY and X.shape == (self.function.n_features, 1)

    def coefficients(self, block: SparseBlock) -> tuple[Sequence[str], np.ndarray]:
        """The function's names of its features, else their numbers from 0; and the scales s_k."""
        scales = block.X[:, 0]
        return list(getattr(self.function, "names", None) or map(str, range(len(scales)))), scales

    def select(self, found: Candidates, random_state: int) -> np.ndarray:
        """The scales s_k, shape (n_features, 1): nothing is chosen from data."""
        scales = np.ones(self.function.n_features) if self.scales is None else np.asarray(self.scales, dtype=float)
        return scales[:, None]

    def features(
        self, X: np.ndarray, neighbourhoods: Neighbourhoods, numbers: np.ndarray, derivatives: bool = True
    ) -> FeatureRows:
        """Features s_k φ_k and minus their derivatives."""
        found = self._features(neighbourhoods, X)
        n = 3 * len(numbers) if derivatives else 0
        forces = -found.positions.reshape(3 * len(numbers), len(X))[:n]
        return FeatureRows(found.values, forces, -found.strain if derivatives else np.zeros((6, len(X))))

    def _features(self, neighbourhoods: Neighbourhoods, X: np.ndarray) -> Features:
        memo = {} if neighbourhoods.memo is None else neighbourhoods.memo
        if id(self.function) not in memo:
            memo[id(self.function)] = self._checked(neighbourhoods)
        return Features(*(x * X[:, 0] for x in memo[id(self.function)]))

    def _checked(self, neighbourhoods: Neighbourhoods) -> Features:
        found = self.function(neighbourhoods.structure())
        n, p = neighbourhoods.n_atoms, self.function.n_features
        shapes, expected = tuple(x.shape for x in found), ((n, p), (n, 3, p), (6, p))
        if shapes != expected:
            raise InputError(f"{type(self.function).__name__} gave arrays of shapes {shapes} instead of {expected}.")
        if not all(np.all(np.isfinite(x)) for x in found):
            raise InputError(f"{type(self.function).__name__} gave features that are NaN or infinite.")
        return found

    def fold_features(self, X: np.ndarray, weights: np.ndarray) -> Any:
        """Scales and weights, shape (n_features, 2)."""
        return np.column_stack([X[:, 0], weights])

    def evaluate_fold(self, fold: Any, neighbourhoods: Neighbourhoods, numbers: np.ndarray) -> Properties:
        """φ times weights."""
        found, w = self._features(neighbourhoods, fold[:, :1]), fold[:, 1]
        voigt, strain = found.strain @ w, np.zeros((3, 3))
        for (a, b), value in zip(VOIGT, voigt):
            strain[a, b] = strain[b, a] = value
        local = found.values @ w
        return Properties(float(local.sum()), -(found.positions @ w), strain, local)
