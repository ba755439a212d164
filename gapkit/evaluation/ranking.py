"""Do large standard deviations go with large errors? Rank correlation and error retention, atom by atom too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Comparison

FloatArray = NDArray[np.float64]
REMOVED = tuple(k / 20 for k in range(20))


class Errors(Protocol):
    """Errors and predicted standard deviations: `gapkit.evaluation.comparison.Comparison`, `AtomErrors`."""

    @property
    def error(self) -> FloatArray:
        """Errors or their sizes, shape (n,)."""

    @property
    def std(self) -> FloatArray | None:
        """Predictive standard deviations, shape (n,); None if they were not predicted."""


class AtomErrors(NamedTuple):
    """Force errors atom by atom; all arrays have shape (n_atoms,).

    Attributes
    ----------
    error : ndarray of float
        Length of the error vector, eV/Å.
    std : ndarray of float
        sqrt(Σ_x std_x²) over the three components, eV/Å: the root of the expected squared length.
    structure, atom : ndarray of int
        Index of the structure in the list that was evaluated, and of the atom in it.
    species, config_type : ndarray of str
    """

    error: FloatArray
    std: FloatArray
    structure: NDArray[np.intp]
    atom: NDArray[np.intp]
    species: NDArray[np.str_]
    config_type: NDArray[np.str_]


@dataclass(frozen=True)
class Retention:
    """Error that is left when the values with the largest predicted standard deviations are removed.

    Attributes
    ----------
    removed : tuple of float, length m
        Fractions of the values that are removed.
    rmse : tuple of float, length m
        Root mean square error of the values left, in the unit of the errors.
    oracle, random : tuple of float, length m
        The same if the values with the largest errors are removed, and if random ones are: the best and no order.
    gain : float or None
        Area between `random` and `rmse` over that between `random` and `oracle`, over every number of values removed:
        1 if std orders the values as the errors do, 0 if it is uninformative, negative if it misleads. None if all
        errors are of one size.
    """

    removed: tuple[float, ...]
    rmse: tuple[float, ...]
    oracle: tuple[float, ...]
    random: tuple[float, ...]
    gain: float | None


def per_atom(comparison: Comparison) -> AtomErrors:
    """Join the three force components of each atom.

    Parameters
    ----------
    comparison : Comparison
        Of forces, with standard deviations.

    Raises
    ------
    InputError
        If the values are not force components of atoms, all three of each, or as `z_scores`.
    """
    std, atom, species = checked_std(comparison), comparison.atom, comparison.species
    if atom is None or species is None:
        raise InputError(f"values in {comparison.unit} belong to no atoms: give the comparison of forces.")
    number = comparison.structure * (atom.max() + 1) + atom
    _, first, index, counts = np.unique(number, return_index=True, return_inverse=True, return_counts=True)
    if np.any(counts != 3):
        wrong = first[np.flatnonzero(counts != 3)[0]]
        raise InputError(
            f"atom {atom[wrong]} of structure {comparison.structure[wrong]} has {counts[counts != 3][0]} of 3 force "
            "components: select whole atoms."
        )
    error, expected = (np.sqrt(np.bincount(index, weights=x**2)) for x in (comparison.error, std))
    where = comparison.structure[first]
    return AtomErrors(error, expected, where, atom[first], species[first], comparison.config_type[first])


def error_retention(errors: Errors, removed: Iterable[float] = REMOVED) -> Retention:
    """Error that is left when the values of largest standard deviation are removed.

    Values of equal standard deviation are removed in random order, in expectation of the mean square. Curve and
    references follow Ilg et al., ECCV (2018), "sparsification plots".

    Parameters
    ----------
    errors : Comparison or AtomErrors
        Values, or with `per_atom` the atoms, and their standard deviations.
    removed : iterable of float
        Fractions to remove, rounded to whole values; at least one value is always left.

    Raises
    ------
    InputError
        If a fraction lies outside [0, 1), an error is not finite, or as `z_scores`.
    """
    std, fractions = checked_std(errors), [float(fraction) for fraction in removed]
    square = np.asarray(errors.error, dtype=float) ** 2
    outside = [fraction for fraction in fractions if not 0.0 <= fraction < 1.0]
    if outside or not np.all(np.isfinite(square)):
        cause = f"removed fractions must lie in [0, 1), got {outside}" if outside else "an error is not finite"
        raise InputError(f"the error retained cannot be computed: {cause}; correct that.")
    left = [max(1, round((1.0 - fraction) * len(square))) for fraction in fractions]
    by_std, by_error = _retained(square, std), _retained(square, square)
    idle = np.full(len(square), np.sqrt(square.mean()))
    best = float(np.sum(idle - by_error))
    gain = float(np.sum(idle - by_std)) / best if np.ptp(square) > 0.0 else None
    rmse, oracle, random = (tuple(curve[np.array(left, dtype=int) - 1].tolist()) for curve in (by_std, by_error, idle))
    return Retention(tuple(fractions), rmse, oracle, random, gain)


def rank_correlation(error: FloatArray, std: FloatArray) -> float | None:
    """Spearman correlation of error sizes and standard deviations (n,); None if one is constant or n < 3."""
    if len(error) < 3 or np.ptp(error) == 0.0 or np.ptp(std) == 0.0:
        return None
    return float(spearmanr(error, std).statistic)


def checked_std(errors: Errors) -> FloatArray:
    """The standard deviations, shape (n,).

    Raises
    ------
    InputError
        If there are none, or one is not positive and finite.
    """
    std = errors.std
    if std is None:
        raise InputError(
            "calibration needs predictive standard deviations, this comparison has none: evaluate with return_std=True "
            "for energies, 'all' for forces and stresses."
        )
    if len(std) == 0:
        raise InputError("calibration needs at least one compared value, got none: give structures that carry labels.")
    wrong = np.flatnonzero(~(np.isfinite(std) & (std > 0.0)))
    if len(wrong):
        raise InputError(
            f"standard deviations must be positive and finite, got {std[wrong[0]]} for value {wrong[0]}: "
            "include the noise in the predictive standard deviation."
        )
    return std


def _retained(square: FloatArray, key: FloatArray) -> FloatArray:
    """√(mean square) of the k values with the smallest key, k = 1 … n; equal keys share their mean square."""
    _, index, counts = np.unique(key, return_inverse=True, return_counts=True)
    shared = np.bincount(index, weights=square) / counts
    return np.sqrt(np.cumsum(np.repeat(shared, counts)) / np.arange(1, len(square) + 1))
