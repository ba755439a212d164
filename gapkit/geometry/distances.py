"""Shortest distances of each pair of species in the training data, and structures that go below them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from gapkit._numba.neighbours import closest_pairs, lowest_ratio
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods

CURE = ", and a ZBL baseline if there is none"
CHANCE = 0.05  # by which two samples of the same distances may differ at their lower ends; where `ZBL` begins to act


class ShortContact(NamedTuple):
    """Two atoms that are closer than any two of their species were in training.

    Attributes
    ----------
    i, j : int
        Indices of the atoms; the same for an atom and its image.
    pair : str
        Their species, as `pair_name` writes them.
    distance, shortest : float
        Theirs, and the shortest in training, Å.
    """

    i: int
    j: int
    pair: str
    distance: float
    shortest: float


def pair_name(a: str, b: str) -> str:
    """``"Na-Cl"``: two symbols, the lower atomic number first."""
    first, second = sorted((a, b), key=atomic_numbers.__getitem__)
    return f"{first}-{second}"


def pair_names(species: Sequence[str]) -> list[str]:
    """All pairs of the species, each once."""
    return [pair_name(a, b) for a, b in combinations_with_replacement(species, 2)]


def shortest_distances(structures: Iterable[Atoms], within: float = 5.0) -> dict[str, float]:
    """The shortest distance (Å) of every pair of species that comes closer than `within` (Å) in any structure.

    Raises
    ------
    InputError
        As `find_neighbourhoods`.
    """
    found: dict[str, float] = {}
    for atoms in structures:
        found = shorter(found, closest_by_pair(find_neighbourhoods(atoms, within), atoms.numbers))
    return found


def closest_by_pair(nb: Neighbourhoods, numbers: np.ndarray) -> dict[str, float]:
    """The shortest distance (Å) of every pair of species that is in the neighbourhoods of all atoms."""
    z, kind = np.unique(numbers, return_inverse=True)
    squares = np.full((len(z), len(z)), np.inf)
    closest_pairs(nb.first, nb.centres, nb.j, nb.D, kind, squares)
    places = ((a, b) for a, b in zip(*np.nonzero(squares < np.inf)) if a <= b)
    return {pair_name(chemical_symbols[z[a]], chemical_symbols[z[b]]): float(np.sqrt(squares[a, b])) for a, b in places}


def shorter(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Shortest distances of two sets of structures together."""
    return {pair: min(d[pair] for d in (one, other) if pair in d) for pair in sorted({*one, *other})}


def short_contacts(atoms: Atoms, shortest: Mapping[str, float]) -> list[ShortContact]:
    """Pairs closer than `shortest` (Å, by `pair_name`) of their species, the most extreme ratio first.

    Species pairs that `shortest` does not name have no limit.

    Raises
    ------
    InputError
        As `find_neighbourhoods`.
    """
    nb = find_neighbourhoods(atoms, max(shortest.values(), default=0.1))
    distances, found = np.linalg.norm(nb.D, axis=1), []
    for i, j, distance in zip(nb.i.tolist(), nb.j.tolist(), distances.tolist()):
        pair = pair_name(atoms.symbols[i], atoms.symbols[j])
        if i <= j and distance < shortest.get(pair, 0.0):
            found.append(ShortContact(i, j, pair, distance, shortest[pair]))
    return sorted(set(found), key=lambda contact: contact.distance / contact.shortest)


def worst_contact(nb: Neighbourhoods, numbers: np.ndarray, shortest: Mapping[str, float]) -> ShortContact | None:
    """The pair that lies farthest, and more than `CHANCE`, below the `shortest` distance (Å) of its species.

    Pairs of species that `shortest` does not name have never been seen: for them it is infinite.

    Parameters
    ----------
    nb : Neighbourhoods
    numbers : ndarray of int, shape (n_atoms,)
        Atomic numbers.
    shortest : mapping of pair to float
    """
    i, j, square = lowest_ratio(
        nb.first, nb.centres, nb.j, nb.D, numbers, _squares(tuple(shortest.items())), (1.0 - CHANCE) ** 2
    )
    if i < 0:
        return None
    pair = pair_name(chemical_symbols[numbers[i]], chemical_symbols[numbers[j]])
    return ShortContact(int(min(i, j)), int(max(i, j)), pair, float(np.sqrt(square)), shortest.get(pair, np.inf))


@lru_cache(maxsize=16)
def _squares(shortest: tuple[tuple[str, float], ...]) -> NDArray[np.float64]:
    """Squares of shortest distances by two atomic numbers, Å², shape (n_z, n_z)."""
    squares = np.full((len(chemical_symbols), len(chemical_symbols)), np.inf)
    for pair, distance in shortest:
        a, b = (atomic_numbers[symbol] for symbol in pair.split("-"))
        squares[a, b] = squares[b, a] = distance**2
    return squares


def contacts_in_words(contacts: Sequence[ShortContact | None]) -> str | None:
    """One sentence on the worst of the contacts of some structures, None if there is none."""
    found = [(c.distance / c.shortest, k, c) for k, c in enumerate(contacts) if c is not None]
    if not found:
        return None
    _, k, worst = min(found)
    where = f"structure {k}: " if len(contacts) > 1 else ""
    others = "" if len(found) == 1 else f" ({len(found)} of {len(contacts)} structures have such pairs)"
    cure = "" if worst.shortest == np.inf else CURE
    return f"{where}{_in_words(worst)}{others}: the model extrapolates; add such frames{cure}."


def _in_words(contact: ShortContact, others: str = "") -> str:
    i, j, pair, distance, limit = contact
    known = "a pair that no training frame has" if limit == np.inf else "closer than any in the training data"
    shortest = "" if limit == np.inf else f" ({limit:.3f} Å)"
    return f"atoms {i} and {j} ({pair}) are {distance:.3f} Å apart{others}, {known}{shortest}"


def distance_warning(atoms: Atoms, shortest: Mapping[str, float]) -> str | None:
    """One sentence if `atoms` goes below the shortest training distances, else None; errors as `short_contacts`."""
    contacts = short_contacts(atoms, shortest)
    if not contacts:
        return None
    others = f" (and {len(contacts) - 1} other pairs)" if len(contacts) > 1 else ""
    return f"{_in_words(contacts[0], others)}: the model extrapolates; add such frames{CURE}."
