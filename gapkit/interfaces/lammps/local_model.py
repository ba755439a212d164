"""The seam: neighbours of some atoms in, local energies, forces on them and on their neighbours, and virials out.

The one place in which LAMMPS's engines call gapkit's: the same `evaluate` as `GAP.predict`, on the same kind of
`Neighbourhoods`, so that the numbers are equal to round-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from ase.data import atomic_numbers

from gapkit._numba.atom_virials import pair_virials
from gapkit._numba.kernels import pair_forces
from gapkit.errors import ExtrapolationWarning, InputError, did_you_mean, warn
from gapkit.geometry.distances import contacts_in_words, worst_contact
from gapkit.geometry.neighbourhoods import SHORTEST_DISTANCE, Neighbourhoods
from gapkit.interfaces.lammps.baselines_in_lammps import baselines_on_pairs
from gapkit.interfaces.lammps.model_words import ModelWords
from gapkit.interfaces.lammps.terms_on_pairs import ANY_REACH, terms_on_pairs
from gapkit.potential.gap import GAP
from gapkit.potential.prediction import energies_of_atoms
from gapkit.structures.properties import Properties
from gapkit.terms.basis import Basis, Environments
from gapkit.terms.evaluate import evaluate, evaluate_with_variance

NO_ATOM = 0  # "atomic number" of a LAMMPS type that gapkit is not to see
VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # LAMMPS's order


class LocalProperties(NamedTuple):
    """What the centres of some neighbourhoods add to a structure.

    Attributes
    ----------
    local_energies : ndarray, shape (n_atoms,), eV
        e0 and baselines included; zero where there is no centre.
    forces : ndarray, shape (n_atoms, 3), eV/Å
        Of the energies of the centres, on all atoms: those on ghosts belong to the atoms that they are images of.
    virial : ndarray, shape (6,), eV
        -dE/dε, xx yy zz xy xz yz.
    local_virials : ndarray, shape (n_atoms, 6), eV, or None
        Half of what each pair has on each of its atoms, as of LAMMPS's pair styles.
    local_energies_std : ndarray, shape (n_atoms,), eV, or None
    """

    local_energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    local_virials: np.ndarray | None = None
    local_energies_std: np.ndarray | None = None


@lru_cache(maxsize=2)
def _loaded(path: Path, changed: int) -> GAP:
    """The model file; `changed`, its date, is there to read it again after a change."""
    return GAP.load(path)


class LocalModel:
    """A fitted potential as a function of neighbours.

    Parameters
    ----------
    gap : GAP
    without : sequence of str
        Baselines to leave out.

    Attributes
    ----------
    cutoff : float
        Å; of the pairs that `evaluate` wants.

    Raises
    ------
    InputError
        For a model with parts that are no functions of neighbours.
    """

    def __init__(self, gap: GAP, without: Sequence[str] = ()) -> None:
        self._potential = gap.potential_
        self._baselines = baselines_on_pairs(self._potential.baselines, without)
        terms = terms_on_pairs(self._potential.basis.terms)
        self._basis = Basis(terms, self._potential.basis.blocks)
        reaches = [term.reach for term in terms if term.reach is not None] + [b.cutoff for b in self._baselines]
        self.cutoff = max(reaches, default=ANY_REACH)
        self._has_warned = False

    @classmethod
    def from_words(cls, words: ModelWords) -> LocalModel:
        """The model of a pair style's arguments; errors as `GAP.load` and those of the class."""
        file = Path(words.path)
        return cls(_loaded(file.absolute(), file.stat().st_mtime_ns if file.is_file() else 0), words.without)

    def numbers_of_types(self, symbols: Sequence[str]) -> np.ndarray:
        """Atomic number of every LAMMPS type (n_types + 1,), from the symbols of types 1, 2, …; `NO_ATOM` for NULL.

        Raises
        ------
        InputError
            For a symbol that the model does not know.
        """
        known = self._potential.species
        for symbol in symbols:
            if symbol != "NULL" and symbol not in known:
                raise InputError(
                    f"pair_coeff names the species {symbol!r}, but the model was trained on {', '.join(known)}"
                    f"{did_you_mean(symbol, known)}: correct it, or give NULL for atoms that gapkit is not to see."
                )
        return np.array([NO_ATOM, *(NO_ATOM if symbol == "NULL" else atomic_numbers[symbol] for symbol in symbols)])

    def evaluate(
        self,
        pairs: Neighbourhoods,
        numbers: np.ndarray,
        with_virials: bool = False,
        with_std: bool = False,
        names: Callable[[int], int] = int,
    ) -> LocalProperties:
        """Energies, forces and virials of the centres of `pairs`.

        Parameters
        ----------
        pairs : Neighbourhoods
            Some atoms with all their neighbours within `cutoff`, which may be ghosts.
        numbers : ndarray of int, shape (n_atoms,)
            Atomic numbers, of ghosts, too.
        with_virials, with_std : bool
            Ask for `local_virials` and `local_energies_std`.
        names : callable
            What to call an atom in a warning, from its index.

        Raises
        ------
        InputError
            For atoms on top of each other.

        Warns
        -----
        ExtrapolationWarning
            As `GAP.predict`, once in the life of the model.
        """
        _check_distances(pairs, names)
        environments = self._environments(pairs, numbers)
        self._warn_once(environments, names)
        found, variance = self._evaluate(environments, with_std)
        std = None if variance is None else self._std(variance)
        if with_virials:
            return self._with_virials(pairs, numbers)._replace(local_energies_std=std)
        energies, forces, strain = found.local_energies, found.forces, found.strain_derivative
        self._add_baselines(pairs, numbers, energies, forces, strain)
        self._add_e0(pairs.centres, numbers, energies)
        virial = -0.5 * np.array([strain[a, b] + strain[b, a] for a, b in VOIGT])
        return LocalProperties(energies, forces, virial, None, std)

    def _environments(self, pairs: Neighbourhoods, numbers: np.ndarray) -> Environments:
        """Neighbourhoods of every term, shared by those with one reach."""
        terms = self._basis.terms
        cutoffs = {term.reach for term in terms}
        within = {c: pairs if c is None or c >= self.cutoff else pairs.within(c) for c in cutoffs}
        return Environments(self._basis, tuple(within[term.reach] for term in terms), numbers)

    def _evaluate(self, environments: Environments, with_std: bool = False) -> tuple[Properties, np.ndarray | None]:
        p = self._potential
        if with_std:
            return evaluate_with_variance(environments, p.alpha, p.posterior.local_variance, p.folds)
        return evaluate(environments, p.alpha, p.folds), None

    def _add_baselines(
        self, pairs: Neighbourhoods, numbers: np.ndarray, energies: np.ndarray, forces: np.ndarray, strain: np.ndarray
    ) -> None:
        for baseline in self._baselines:
            nb = pairs.within(baseline.cutoff)
            e, g = baseline.of_pairs(nb, numbers)
            energies[nb.centres] += e
            pair_forces(nb.centres, nb.first, nb.j, nb.D, g, forces, strain)

    def _add_e0(self, centres: np.ndarray, numbers: np.ndarray, energies: np.ndarray) -> None:
        if len(centres):
            energies[centres] += energies_of_atoms(self._potential.e0, numbers[centres])

    def _with_virials(self, pairs: Neighbourhoods, numbers: np.ndarray) -> LocalProperties:
        """Every neighbour is made an atom of its own, so that the force on it is -g_ij."""
        n = len(numbers)
        apart = pairs._replace(j=n + np.arange(len(pairs.j)), n_atoms=n + len(pairs.j))
        all_numbers = np.concatenate([numbers, numbers[pairs.j]])
        found, _ = self._evaluate(self._environments(apart, all_numbers))
        energies, every_force = found.local_energies, found.forces
        self._add_baselines(apart, all_numbers, energies, every_force, np.zeros((3, 3)))
        self._add_e0(pairs.centres, numbers, energies)
        forces, virials = every_force[:n].copy(), np.zeros((n, 6))
        pair_virials(pairs.centres, pairs.first, pairs.j, pairs.D, -every_force[n:], forces, virials)
        return LocalProperties(energies[:n], forces, virials.sum(axis=0), virials)

    def _std(self, variance: np.ndarray) -> np.ndarray:
        """Standard deviation of every centre's local energy, eV, with the model's recalibration."""
        recalibration = self._potential.recalibration
        factor = 1.0 if recalibration is None else recalibration.factor("energy")
        return factor * np.sqrt(variance)

    def _warn_once(self, environments: Environments, names: Callable[[int], int]) -> None:
        shortest = self._potential.shortest
        if self._has_warned or not shortest:
            return
        contact = worst_contact(environments.longest, environments.numbers, shortest)
        if contact is not None:
            self._has_warned = True
            contact = contact._replace(i=names(contact.i), j=names(contact.j))
            warn(str(contacts_in_words([contact])), ExtrapolationWarning)


def _check_distances(pairs: Neighbourhoods, names: Callable[[int], int]) -> None:
    squares = np.einsum("pa,pa->p", pairs.D, pairs.D)
    if len(squares) and squares[closest := int(squares.argmin())] < SHORTEST_DISTANCE**2:
        refuse_closest(names(int(pairs.i[closest])), names(int(pairs.j[closest])), float(np.sqrt(squares[closest])))


def refuse_closest(i: int, j: int, distance: float) -> NoReturn:
    """Refuse atoms on top of each other, by what LAMMPS calls them."""
    raise InputError(
        f"the atoms with ids {i} and {j} are {distance:.3g} Å apart, closer than {SHORTEST_DISTANCE} Å: remove "
        "duplicated atoms, or check the positions, the cell and the timestep."
    )
