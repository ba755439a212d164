"""Linear terms: explicit functions of a whole structure, with values and derivatives, and a Gaussian prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from typing_extensions import TypedDict

from gapkit.checks import Positive, build, check_fields, check_keys, checked
from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.quantities import VOIGT
from gapkit.structures.properties import Properties
from gapkit.structures.species import check_known, check_symbols
from gapkit.structures.statistics import DataFacts
from gapkit.terms.feature_term import KEY, Candidates, FeatureRows, FeatureTerm
from gapkit.terms.protocol import AdditiveTerm, as_dict, term_type
from gapkit.terms.records import SparseBlock

KEYS = ("type", "function", "delta", "scales")


class Features(NamedTuple):
    """Features of one structure and their derivatives.

    Attributes
    ----------
    values : ndarray, shape (n_atoms, n_features)
        Each atom's share of every feature; a feature of the structure is the sum over atoms.
    positions : ndarray, shape (n_atoms, 3, n_features), 1/Å
        Derivatives of the features of the structure by the positions.
    strain : ndarray, shape (6, n_features)
        Derivatives by a symmetric strain, xx yy zz yz xz xy (yz: ε_yz = ε_zy = ε/2).
    """

    values: np.ndarray
    positions: np.ndarray
    strain: np.ndarray


@runtime_checkable
class FeatureFunction(Protocol):
    """Explicit features of a structure; a frozen dataclass, so that a model file can name it and its parameters."""

    @property
    def n_features(self) -> int:
        """Number of features."""
        ...

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        ...

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the function does not know."""
        ...

    def __call__(self, atoms: Atoms) -> Features:
        """Features of a structure; `InputError` for a periodicity that the function does not support."""
        ...


Function = TypeVar("Function", bound=type)
FUNCTIONS: dict[str, type] = {}


def feature_function(kind: Function) -> Function:
    """Class decorator: model files and configurations may name this class of feature functions.

    Raises
    ------
    InputError
        If another class has the same name.
    """
    if FUNCTIONS.setdefault(kind.__name__, kind) is not kind:
        raise InputError(f"there is a feature function {kind.__name__!r} already: give this one another name.")
    return kind


@feature_function
@dataclass(frozen=True)
class Composition:
    """Number of atoms of each species: corrections of e0 that have a posterior.

    Parameters
    ----------
    species : sequence of str
    """

    species: Sequence[str]

    @property
    def n_features(self) -> int:
        """One per species."""
        return len(self.species)

    def validate(self) -> None:
        """Raise `InputError` unless the species are symbols."""
        check_symbols(self.species, "Composition")
        check_fields(self)

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for a species that is not listed."""
        check_known(numbers, self.species, "Composition")

    def __call__(self, atoms: Atoms) -> Features:
        """Counts; they do not depend on positions or cell."""
        numbers = np.array([atomic_numbers[s] for s in self.species])
        values = (atoms.numbers[:, None] == numbers).astype(float)
        return Features(values, np.zeros((len(atoms), 3, len(numbers))), np.zeros((6, len(numbers))))


@feature_function
@dataclass(frozen=True)
class InversePowers:
    """Σ_{i<j} w(r/c) (c/r)^n for each pair of species and exponent n; c is the cutoff.

    w(x) = (1 - x)⁴ (1 + 4x + 10x² + 20x³) has three continuous derivatives at the cutoff.

    Parameters
    ----------
    species : sequence of str
        Any order; features run over pairs of atomic numbers Z ≤ Z', then over exponents.
    exponents : sequence of float
        The n, not negative; 0 counts neighbours smoothly.
    cutoff : float
        Å.
    """

    species: Sequence[str]
    exponents: Sequence[float] = (1.0, 6.0, 12.0)
    cutoff: Positive = 6.0

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of atomic numbers Z ≤ Z'."""
        return list(combinations_with_replacement(sorted(atomic_numbers[s] for s in self.species), 2))

    @property
    def n_features(self) -> int:
        """Pairs of species times exponents."""
        return len(self.pairs) * len(self.exponents)

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        check_symbols(self.species, "InversePowers")
        check_fields(self)
        if not len(self.exponents) or not all(0 <= n <= 50 for n in self.exponents):
            raise InputError(f"exponents = {list(self.exponents)} of InversePowers must be numbers between 0 and 50.")

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for a species that is not listed."""
        check_known(numbers, self.species, "InversePowers")

    def __call__(self, atoms: Atoms) -> Features:
        """Features of any structure."""
        nb, n = find_neighbourhoods(atoms, self.cutoff), len(atoms)
        value, g = self.of_pairs(nb, atoms.numbers)
        i = nb.i
        values, positions = np.zeros((n, self.n_features)), np.zeros((n, 3, self.n_features))
        np.add.at(values, i, value)
        np.add.at(positions, nb.j, g)
        np.add.at(positions, i, -g)
        strain = np.array([np.einsum("p,pk->k", nb.D[:, a], g[:, b]) for a, b in VOIGT])
        return Features(values, positions, strain)

    def of_pairs(self, nb: Neighbourhoods, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each pair within the cutoff adds to its centre's features, (n_pairs, n_features), and its gradient by D.

        The gradient is (n_pairs, 3, n_features), 1/Å; every pair is listed from both its atoms and has half from each.
        """
        r = np.linalg.norm(nb.D, axis=1)
        x, powers = (r / self.cutoff)[:, None], np.asarray(self.exponents, dtype=float)
        taper, slope = (1 - x) ** 4 * (1 + 4 * x + 10 * x**2 + 20 * x**3), -140 * x**3 * (1 - x) ** 3
        value = 0.5 * taper * x**-powers  # half of each pair, which is met twice
        gradient = 0.5 * (slope * x**-powers - taper * powers * x ** (-powers - 1)) / self.cutoff
        of = np.sort(numbers[np.column_stack([nb.i, nb.j])], axis=1)
        own = np.array([np.all(of == pair, axis=1) for pair in self.pairs], dtype=float).T  # (n_pairs, pairs)
        value, gradient = (
            (own[:, :, None] * y[:, None, :]).reshape(len(r), self.n_features) for y in (value, gradient)
        )
        return value, (nb.D / r[:, None])[:, :, None] * gradient[:, None, :]


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
        from gapkit.terms.linear_on_pairs import LinearOnPairs  # which needs this module

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
