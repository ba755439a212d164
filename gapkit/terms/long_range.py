"""Electrostatics and dispersion that a fit learns: lattice sums of 1/r and 1/r⁶ as features of a linear term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from ase import Atoms
from pydantic import Field

from gapkit.checks import check_fields, check_number
from gapkit.errors import InputError
from gapkit.geometry.distances import pair_name
from gapkit.geometry.lattice_sums import LatticeSums, check_periodicity, lattice_sums
from gapkit.quantities import VOIGT
from gapkit.structures.species import check_known, check_symbols
from gapkit.terms.feature_functions import Features, feature_function

NEUTRAL = 1e-6  # of the sum of |q|: what round-off leaves


class LatticeFeatures(NamedTuple):
    """Features of one structure with their derivatives.

    Attributes
    ----------
    values : ndarray, shape (n_features,)
        1/Å or 1/Å⁶, of the whole structure.
    position_derivatives : ndarray, shape (n_features, n_atoms, 3)
    strain_derivatives : ndarray, shape (n_features, 3, 3)
        Symmetric.
    local_values : ndarray, shape (n_atoms, n_features)
        Half of each pair's contribution goes to each of its atoms; they add up to the values.
    """

    values: np.ndarray
    position_derivatives: np.ndarray
    strain_derivatives: np.ndarray
    local_values: np.ndarray


@feature_function
@dataclass(frozen=True)
class LongRange:
    """Sums of damped 1/r and 1/r⁶ over all images for each pair of species: ``Linear(LongRange(["Na", "Cl"]), 15.0)``.

    The coefficients are e²/(4πε₀) q_A q_B = 14.4 eV Å · q_A q_B for 1/r and -C6_AB (eV Å⁶) for 1/r⁶; the amplitude δ of
    the term, times `scales`, should be of their size. `gapkit.uncertainty.coefficients.linear_coefficients` gives them
    with their standard deviations. Molecules are summed directly, three-dimensional cells by Ewald's method; slabs and
    wires are refused. A fit knows coefficients, not charges, so that the k = 0 term of 1/r is left out and each sum
    stands for charges in a uniform background of opposite charge. The backgrounds cancel in E if u_AB = q_A q_B with
    charges that make the cell neutral; with other coefficients, energies of cells with different vacuum or composition
    share that background. Periodic cells of one species, whose charges cannot cancel, are refused where 1/r is summed.

    ``LongRange(["Na", "Cl"], charges={"Na": 1, "Cl": -1})`` has one coefficient of 1/r instead of three, and is to be
    preferred where one ratio of charges makes every cell neutral: then free coefficients only add errors at long
    wavelengths. The coefficient is e²/(4πε₀) s² with s the charge that one unit stands for. It must come out positive,
    which nothing enforces: a negative one, or one within its error bar of 0, says that the data show no such charges.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols.
    powers : sequence of {1, 6}
    width : float
        Å, of the damping: f_1 = erf(r/(√2 width))/r; 0 is no damping.
    tolerance : float
        Of the sums, as in `gapkit.geometry.lattice_sums.lattice_sums`.
    charges : mapping of str to float, optional
        Relative charge of each species, 0 where there is none: one feature Σ_{A≤B} q_A q_B Σ_{ij∈AB} f_1(r_ij) instead
        of one for each pair; those of 1/r⁶ stay. Periodic cells must be neutral with them, molecules need not.
    """

    species: Sequence[str]
    powers: Sequence[Literal[1, 6]] = (1, 6)
    width: Annotated[float, Field(ge=0, description="0 is no damping")] = 1.0
    tolerance: Annotated[float, Field(ge=1e-14, le=1e-3, description="1e-10 is usual")] = 1e-10
    charges: Mapping[str, float] | None = None

    @property
    def names(self) -> list[str]:
        """What each feature is: ``"1/r Na-Cl"``, …, powers first, then pairs in the order of `species`.

        With `charges` the one of 1/r is ``"1/r of Na +1, Cl -1"``.
        """
        kinds = range(len(self.species))
        pairs = [pair_name(self.species[a], self.species[b]) for a in kinds for b in kinds if a <= b]
        of_pairs = {1: [f"1/r {pair}" for pair in pairs], 6: [f"1/r⁶ {pair}" for pair in pairs]}
        if self.charges is not None:
            of_pairs[1] = [f"1/r of {_in_words(self.charges)}"]
        return [name for power in self.powers for name in of_pairs[power]]

    @property
    def n_features(self) -> int:
        """Number of features."""
        n_pairs = len(self.species) * (len(self.species) + 1) // 2
        return sum(1 if power == 1 and self.charges is not None else n_pairs for power in self.powers)

    def validate(self) -> None:
        """Raise `InputError` for unknown species, powers, and impossible width, tolerance or charges."""
        check_symbols(self.species, type(self).__name__)
        check_fields(self)
        if not len(self.powers) or not set(self.powers) <= {1, 6} or len(set(self.powers)) < len(self.powers):
            raise InputError(f"powers = {self.powers!r} must be [1], [6] or [1, 6].")
        if self.charges is not None:
            self._check_charges(self.charges)

    def _check_charges(self, charges: Mapping[str, float]) -> None:
        if 1 not in self.powers:
            raise InputError(f"charges = {dict(charges)} belong to sums of 1/r: add 1 to powers, or leave charges out.")
        if set(charges) != set(self.species):
            raise InputError(
                f"charges = {dict(charges)} must name the species {', '.join(self.species)} and no other: give 0 to "
                "one that is neutral."
            )
        for symbol, charge in charges.items():
            check_number(f"charges[{symbol!r}]", charge, -100.0, 100.0)
        if not any(charges.values()):
            raise InputError(f"charges = {dict(charges)} are all 0: give their ratios, such as {{'Na': 1, 'Cl': -1}}.")

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if `numbers` holds a species that is not among `species`."""
        check_known(numbers, self.species, type(self).__name__)

    def __call__(self, atoms: Atoms) -> Features:
        """Features of a molecule or of a three-dimensional cell.

        Raises
        ------
        InputError
            For a cell of one species with 1/r and no `charges`, and as `features`.
        """
        symbols = set(atoms.symbols)
        if 1 in self.powers and self.charges is None and atoms.pbc.any() and len(symbols) == 1:
            raise InputError(
                f"the periodic cell {atoms.get_chemical_formula()} holds one species, whose charges cannot cancel in "
                "LongRange's sum of 1/r: set pbc=False for isolated atoms and molecules, or use powers=[6]."
            )
        found = self.features(atoms)
        strain = np.array([found.strain_derivatives[:, a, b] for a, b in VOIGT])
        return Features(found.local_values, np.moveaxis(found.position_derivatives, 0, 2), strain)

    def features(self, atoms: Atoms) -> LatticeFeatures:
        """Features of a structure, with derivatives by positions and strain.

        Raises
        ------
        InputError
            For an unknown species, partial periodicity, a periodic cell that `charges` do not make neutral, and as
            `find_neighbourhoods`.
        """
        self.check_species(atoms.numbers)
        check_periodicity(atoms, type(self).__name__)
        found = [self._sums(atoms, power) for power in self.powers]
        return LatticeFeatures(*(np.concatenate(parts, axis=axis) for parts, axis in zip(zip(*found), (0, 0, 0, 1))))

    def _sums(self, atoms: Atoms, power: Literal[1, 6]) -> LatticeFeatures:
        if power == 1 and self.charges is not None:
            return self._of_charges(atoms, self.charges)
        index = {symbol: kind for kind, symbol in enumerate(self.species)}
        kinds = np.array([index[symbol] for symbol in atoms.symbols], dtype=np.int64)
        ones, n_kinds = np.ones(len(atoms)), len(self.species)
        return _by_pair(lattice_sums(atoms, ones, kinds, n_kinds, power, self.width, self.tolerance), kinds)

    def _of_charges(self, atoms: Atoms, charges: Mapping[str, float]) -> LatticeFeatures:
        """One sum over all atoms: the species need no potentials of their own."""
        q = np.array([float(charges[symbol]) for symbol in atoms.symbols])
        if atoms.pbc.any() and abs(q.sum()) > NEUTRAL * np.abs(q).sum():
            raise InputError(
                f"the periodic cell {atoms.get_chemical_formula()} has the charge {q.sum():+.6g} with "
                f"{type(self).__name__}'s charges {_in_words(charges)}: give charges that make every cell neutral or "
                "leave them out; set pbc=False for isolated atoms and molecules."
            )
        sums = lattice_sums(atoms, q, np.zeros(len(atoms), dtype=np.int64), 1, 1, self.width, self.tolerance)
        local, strain = 0.5 * q * sums.potential[:, 0], sums.strain[0, 0]
        gradient = q[:, None] * sums.gradient[:, 0]
        return LatticeFeatures(
            local.sum(keepdims=True), gradient[None], 0.5 * (strain + strain.T)[None], local[:, None]
        )


def _in_words(charges: Mapping[str, float]) -> str:
    return ", ".join(f"{symbol} {charge:+g}" for symbol, charge in charges.items())


def _by_pair(sums: LatticeSums, kinds: np.ndarray) -> LatticeFeatures:
    """E_AB for A ≤ B: from the potentials of kind A at atoms of kind B and the reverse."""
    n_atoms, n_kinds = sums.potential.shape
    pairs = [(a, b) for a in range(n_kinds) for b in range(a, n_kinds)]
    local, gradient = np.zeros((n_atoms, len(pairs))), np.zeros((len(pairs), n_atoms, 3))
    strain = np.empty((len(pairs), 3, 3))
    for feature, (a, b) in enumerate(pairs):
        for kind, other in {(a, b), (b, a)}:
            own = kinds == kind
            local[own, feature] = 0.5 * sums.potential[own, other]
            gradient[feature, own] = sums.gradient[own, other]
        strain[feature] = sums.strain[a, b] if a == b else sums.strain[a, b] + sums.strain[b, a]
    return LatticeFeatures(local.sum(axis=0), gradient, 0.5 * (strain + strain.transpose(0, 2, 1)), local)
