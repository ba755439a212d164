"""Atoms → Neighbourhoods: the only module that knows about cells and periodic images."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from vesin import NeighborList

from gapkit._numba.neighbours import both_ways, largest_displacement, within
from gapkit._numba.shorter_lists import nearer
from gapkit.errors import InputError

MOST_NEIGHBOURS = 50_000  # per atom; a real material has some hundreds
SHORTEST_DISTANCE = 0.1  # Å; closer pairs are a mistake in the input, not physics
LARGEST_LENGTH = 1e4  # Å; far beyond it vesin's cell list overflows and kills the interpreter
FARTHEST = 1e7  # Å; that unwrapped atoms may travel: a position there is known to 2e-9 Å


class Neighbourhoods(NamedTuple):
    """All neighbours of some centres, periodic images included, sorted by centre.

    Attributes
    ----------
    centres : ndarray of int64, shape (n_centres,)
        Atom index of each centre.
    first : ndarray of int64, shape (n_centres + 1,)
        Pairs of centre ``centres[c]`` are ``first[c]:first[c + 1]``.
    j : ndarray of int64, shape (n_pairs,)
        Atom index of the neighbour.
    S : ndarray of int32, shape (n_pairs, 3)
        Periodic shift of the neighbour.
    D : ndarray, shape (n_pairs, 3)
        ``positions[j] - positions[i] + S @ cell``, Å.
    n_atoms : int
        Number of atoms of the structure.
    atoms : Atoms or None
        The structure itself, for `whole_structure` only.
    memo : dict or None
        What functions of the whole structure have found, so that one structure's energies, rows and variances need
        each of them once.
    """

    centres: np.ndarray
    first: np.ndarray
    j: np.ndarray
    S: np.ndarray
    D: np.ndarray
    n_atoms: int
    atoms: Atoms | None = None
    memo: dict[int, Any] | None = None

    @property
    def i(self) -> np.ndarray:
        """Atom index of the centre of every pair, shape (n_pairs,)."""
        return np.repeat(self.centres, np.diff(self.first))

    def structure(self) -> Atoms:
        """The structure, of `whole_structure`."""
        if self.atoms is None:
            raise ValueError("these neighbourhoods hold pairs, not the structure: use whole_structure")
        return self.atoms

    def within(self, cutoff: float) -> Neighbourhoods:
        """The pairs closer than `cutoff` (Å), at a tenth of the cost of a search."""
        first, j, S, D = nearer(self.first, self.j, self.S, self.D, cutoff)
        return self._replace(first=first, j=j, S=S, D=D)

    def select(self, which: np.ndarray) -> Neighbourhoods:
        """The neighbourhoods of ``centres[which]``, `which` being increasing positions."""
        if len(which) == len(self.centres):
            return self
        if len(which) and which[-1] - which[0] == len(which) - 1:
            low, high = self.first[which[0]], self.first[which[-1] + 1]
            return self._replace(
                centres=self.centres[which], first=self.first[which[0] : which[-1] + 2] - low,
                j=self.j[low:high], S=self.S[low:high], D=self.D[low:high],
            )  # fmt: skip
        counts = np.diff(self.first)[which]
        first = np.concatenate(([0], np.cumsum(counts)))
        pairs = np.repeat(self.first[which] - first[:-1], counts) + np.arange(first[-1])
        return self._replace(
            centres=self.centres[which], first=first, j=self.j[pairs], S=self.S[pairs], D=self.D[pairs]
        )


def whole_structure(atoms: Atoms) -> Neighbourhoods:
    """No pairs, but the structure itself: for functions of all atoms and the cell."""
    n, none = len(atoms), np.zeros(0, dtype=np.int64)
    first = np.zeros(n + 1, dtype=np.int64)
    return Neighbourhoods(np.arange(n), first, none, np.zeros((0, 3), dtype=np.int32), np.zeros((0, 3)), n, atoms, {})


def find_neighbourhoods(atoms: Atoms, cutoff: float) -> Neighbourhoods:
    """Every pair closer than `cutoff`, both directions, each centre's pairs together.

    Parameters
    ----------
    atoms : Atoms
        Any periodicity; cells smaller than the cutoff are fine.
    cutoff : float
        Å.

    Returns
    -------
    Neighbourhoods

    Raises
    ------
    InputError
        If two atoms (or an atom and an image) are closer than 0.1 Å, or a length is not finite or beyond 1 µm. Atoms of
        a long simulation may be farther away, if their images in the cell are not.
    """
    positions, periods = _placed(atoms)
    _check_lengths(atoms, positions)
    _check_density(atoms, cutoff)
    search = NeighborList(cutoff=cutoff, full_list=False, n_threads=1)
    i, j, S, D = search.compute(positions, atoms.cell.array, atoms.pbc, "ijSD")
    if periods is not None:
        S = S + periods[i] - periods[j]
    first, j, S, D, closest = both_ways(i.astype(np.int64), j.astype(np.int64), S, D, len(atoms))
    neighbourhoods = Neighbourhoods(np.arange(len(atoms)), first, j, S, D, len(atoms))
    if closest < SHORTEST_DISTANCE**2:
        _refuse_closest(neighbourhoods)
    return neighbourhoods


class NeighbourList:
    """`find_neighbourhoods` for a structure in motion: pairs up to cutoff + skin are kept and searched again.

    The search is repeated from scratch when an atom has moved by half the skin or when cell, periodicity or number of
    atoms have changed, so that the result is always that of `find_neighbourhoods`, pairs of a centre in another order.

    Parameters
    ----------
    cutoff, skin : float
        Å.
    """

    def __init__(self, cutoff: float, skin: float = 1.0) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.n_searches = 0
        self._pairs: Neighbourhoods | None = None
        self._cell = self._pbc = self._positions = np.empty(0)

    def find(self, atoms: Atoms) -> Neighbourhoods:
        """All pairs of `atoms` closer than the cutoff; errors as `find_neighbourhoods`."""
        if self._pairs is None or self._is_outdated(atoms, self._pairs):
            self._pairs = find_neighbourhoods(atoms, self.cutoff + self.skin)
            self._cell, self._pbc, self._positions = atoms.cell.array.copy(), atoms.pbc.copy(), atoms.positions.copy()
            self.n_searches += 1
        pairs = self._pairs
        first, j, S, D = (np.empty_like(a) for a in (pairs.first, pairs.j, pairs.S, pairs.D))
        positions = np.ascontiguousarray(atoms.positions, dtype=float)
        closest = within(positions, self._cell, pairs.first, pairs.j, pairs.S, self.cutoff, first, j, S, D)
        found = pairs._replace(first=first, j=j[: first[-1]], S=S[: first[-1]], D=D[: first[-1]])
        if closest < SHORTEST_DISTANCE**2:
            _refuse_closest(found)
        return found

    def _is_outdated(self, atoms: Atoms, pairs: Neighbourhoods) -> bool:
        if len(atoms) != pairs.n_atoms or not np.array_equal(atoms.pbc, self._pbc):
            return True
        if not np.array_equal(atoms.cell.array, self._cell):
            return True
        return not largest_displacement(atoms.positions, self._positions) < 0.5 * self.skin


def _placed(atoms: Atoms) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in double precision; if they are far away, those of images near the origin, and how many periods off.

    Images are the same structure, moved as a whole: S of two atoms changes by the difference of their periods (n, 3).
    """
    positions = np.ascontiguousarray(atoms.positions, dtype=float)
    largest = np.abs(positions).max(initial=0.0)
    if not LARGEST_LENGTH < largest <= FARTHEST or np.linalg.matrix_rank(atoms.cell.array[atoms.pbc]) < atoms.pbc.sum():
        return positions, None
    cell = atoms.cell.complete().array
    periods = np.floor(positions @ np.linalg.inv(cell)) * atoms.pbc
    near = positions - periods @ cell
    return near - near.min(axis=0), periods.astype(np.int32)


def _check_lengths(atoms: Atoms, positions: np.ndarray) -> None:
    """Refuse what the search cannot survive: coordinates far away, and periods so short that pairs fill the memory."""
    largest = np.abs(np.concatenate([positions, atoms.cell.array])).max()
    if not largest <= LARGEST_LENGTH:
        raise InputError(
            f"the positions or the cell reach {largest:.3g} Å, more than {LARGEST_LENGTH:g} Å: "
            "check the units (Å) and remove lost atoms."
        )
    vectors = atoms.cell.array[atoms.pbc]
    try:
        with np.errstate(invalid="ignore"):  # NaN: nearly dependent vectors, to be reduced below
            widths = np.diag(np.linalg.inv(vectors @ vectors.T)) ** -0.5  # no lattice vector is shorter than these
        shortest = widths.min(initial=np.inf)
        if not shortest >= SHORTEST_DISTANCE:
            reduced, _ = minkowski_reduce(atoms.cell, atoms.pbc)
            shortest = np.linalg.norm(reduced[atoms.pbc], axis=1).min()
    except ValueError:  # LinAlgError is one; the reduction raises it when nothing is left of a vector
        raise InputError("the periodic cell vectors depend on each other: give independent ones.") from None
    if shortest < SHORTEST_DISTANCE:
        raise InputError(
            f"every atom is {shortest:.3g} Å from its own image, closer than {SHORTEST_DISTANCE} Å: "
            "check the cell and its units (Å)."
        )


def _check_density(atoms: Atoms, cutoff: float) -> None:
    """Refuse cells so small that an atom would have more neighbours than memory holds."""
    vectors = atoms.cell.array[atoms.pbc]
    measure = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 1e-300))  # length, area or volume of the periodic cell
    ball = (1.0, 2.0 * cutoff, np.pi * cutoff**2, 4.0 / 3.0 * np.pi * cutoff**3)[len(vectors)]
    if len(vectors) and len(atoms) * ball / measure > MOST_NEIGHBOURS:
        raise InputError(
            f"{len(atoms)} atoms in a periodic cell of {measure:.3g} Å^{len(vectors)} have about "
            f"{len(atoms) * ball / measure:.3g} neighbours each within {cutoff} Å: check the cell and its units (Å)."
        )


def _refuse_closest(neighbourhoods: Neighbourhoods) -> NoReturn:
    squared = np.einsum("pa,pa->p", neighbourhoods.D, neighbourhoods.D)
    closest = int(squared.argmin())
    i, j = int(neighbourhoods.i[closest]), int(neighbourhoods.j[closest])
    raise InputError(
        f"atoms {i} and {j} are {np.sqrt(squared[closest]):.3g} Å apart, closer than {SHORTEST_DISTANCE} Å: "
        "remove duplicated atoms or check the positions, the cell and their units (Å)."
    )
