"""Explicit functions of a structure for `Linear` terms: what each must give, and those that are built in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from gapkit.checks import Positive, check_fields
from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.quantities import VOIGT
from gapkit.structures.species import check_known, check_symbols


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
