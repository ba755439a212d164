"""How close atoms come: per pair of species in the training data, and in a structure that goes below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from gapkit.neighbourhoods import find_neighbourhoods


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
        nb = find_neighbourhoods(atoms, within)
        distances, z_i, z_j = np.linalg.norm(nb.D, axis=1), atoms.numbers[nb.i], atoms.numbers[nb.j]
        for a, b in {(int(a), int(b)) for a, b in zip(z_i, z_j) if a <= b}:
            name = pair_name(chemical_symbols[a], chemical_symbols[b])
            closest = float(distances[(z_i == a) & (z_j == b)].min())
            found[name] = min(closest, found.get(name, np.inf))
    return dict(sorted(found.items()))


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


def distance_warning(atoms: Atoms, shortest: Mapping[str, float]) -> str | None:
    """One sentence if `atoms` goes below the shortest training distances, else None; errors as `short_contacts`."""
    contacts = short_contacts(atoms, shortest)
    if not contacts:
        return None
    i, j, pair, distance, limit = contacts[0]
    others = f" (and {len(contacts) - 1} other pairs)" if len(contacts) > 1 else ""
    return (
        f"atoms {i} and {j} ({pair}) are {distance:.3f} Å apart{others}, closer than any in the training data "
        f"({limit:.3f} Å): the model extrapolates; add such frames or a ZBL baseline."
    )
