"""Duplicate frames and contradictory labels, found in a stream with some 200 bytes per frame."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

if TYPE_CHECKING:
    from gapkit.structures.labels import Labels

RESOLUTION = 1e-8  # Å
SHOWN = 5  # contradictions that are reported in full
_OFFSET = 0.381966  # of the grid: numbers with few decimals lie off its edges
_PROJECTIONS = 4
_LENGTH = 2 + _PROJECTIONS + 6  # of a record: index, energy, projections of the forces, virial


class Contradiction(NamedTuple):
    """One geometry with two different labels.

    Attributes
    ----------
    severity : float
        Largest difference over its tolerance.
    first, second : int
        Indices of the frames.
    energies : tuple of two float, eV
        NaN where there is none.
    energy_apart : float, eV/atom
    forces_apart : float, eV/Å
        Estimated root mean square of the differences of components.
    virial_apart : float, eV/atom
        Largest difference of a component. All three are 0 if within their tolerance, or if a label is missing.
    """

    severity: float
    first: int
    second: int
    energies: tuple[float, float]
    energy_apart: float
    forces_apart: float
    virial_apart: float

    def __str__(self) -> str:
        parts = []
        if self.energy_apart:
            a, b = self.energies
            parts.append(f"energies of {a:.9g} and {b:.9g} eV ({1000 * self.energy_apart:.3g} meV/atom apart)")
        if self.forces_apart:
            parts.append(f"forces about {self.forces_apart:.2g} eV/Å apart (root mean square)")
        if self.virial_apart:
            parts.append(f"virials up to {1000 * self.virial_apart:.3g} meV/atom apart")
        return f"frames {self.first} and {self.second} have the same geometry but {', '.join(parts)}: remove one."


class DuplicateFinder:
    """Finds frames of the same geometry in a stream, whatever the order of like atoms and the cell they are in.

    Geometries are alike if species, periodic cell vectors and wrapped positions agree to 1e-8 Å (more exactly: fall
    into the same cells of a grid of that size). A hash of them is kept per frame, and of the labels the energy, the
    virial, and four random projections of the forces, Σ ± F_k: differences of these have the variance |ΔF|², from which
    the size of ΔF is estimated (Johnson and Lindenstrauss; Achlioptas, J. Comput. Syst. Sci. 66, 671 (2003)).
    Each frame is compared with the first of its geometry.

    Parameters
    ----------
    energy_tolerance : float
        eV/atom; labels nearer than this agree.
    forces_tolerance : float
        eV/Å, root mean square.
    virial_tolerance : float
        eV/atom, largest component.

    Attributes
    ----------
    n_frames, n_duplicates, n_contradictions : int
        Frames; those whose geometry came before; those of them with other labels than the first.
    """

    def __init__(
        self, energy_tolerance: float = 1e-5, forces_tolerance: float = 1e-3, virial_tolerance: float = 1e-3
    ) -> None:
        self.tolerances = (energy_tolerance, forces_tolerance, virial_tolerance)
        self.n_frames = self.n_duplicates = self.n_contradictions = 0
        self._place: dict[int, int] = {}
        self._records = array("d")
        self._worst: list[Contradiction] = []

    def add(self, atoms: Atoms, labels: Labels, index: int) -> None:
        """Add one frame, called `index` in messages. Frames without finite positions are skipped."""
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            return
        geometry, order = _geometry(atoms)
        self.n_frames += 1
        self._take(geometry, len(atoms), _record(labels, order, index))

    def merge(self, other: DuplicateFinder) -> None:
        """Add what `other` has found; the indices of both must come from one numbering.

        Only the first frame of each geometry of `other` is compared with the frames here.
        """
        self.n_frames += other.n_frames
        self.n_duplicates += other.n_duplicates
        self.n_contradictions += other.n_contradictions
        for found in other._worst:
            self._remember(found)
        for geometry, place in other._place.items():
            n_atoms, record = other._stored(place)
            self._take(geometry, n_atoms, record)

    def messages(self) -> list[str]:
        """Sentences: the number of repeated frames, then the contradictions, worst first."""
        found = []
        same = self.n_duplicates - self.n_contradictions
        if same:
            found.append(
                f"{same} of {self.n_frames} frames repeat an earlier one of the same geometry without contradicting "
                "it: they count as independent data; leave them out."
            )
        if self.n_contradictions:
            found.append(
                f"{self.n_contradictions} of {self.n_frames} frames contradict the labels of an earlier one of the "
                "same geometry: only their mean can be fitted."
            )
        found += [str(contradiction) for contradiction in self.contradictions]
        if self.n_contradictions > SHOWN:
            found.append(f"smaller contradictions that are not listed: {self.n_contradictions - SHOWN}.")
        return found

    @property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """The worst of them, at most five, worst first."""
        return tuple(sorted(self._worst, key=lambda c: (-c.severity, c.first, c.second)))

    def _stored(self, place: int) -> tuple[int, np.ndarray]:
        """Number of atoms and record of a geometry."""
        stored = np.array(self._records[place * (_LENGTH + 1) : (place + 1) * (_LENGTH + 1)])
        return int(stored[0]), stored[1:]

    def _take(self, geometry: int, n_atoms: int, record: np.ndarray) -> None:
        place = self._place.setdefault(geometry, len(self._place))
        if place * (_LENGTH + 1) == len(self._records):
            self._records.extend([n_atoms, *record])
            return
        self.n_duplicates += 1
        found = _compare(self._stored(place)[1], record, n_atoms, self.tolerances)
        if found is not None:
            self.n_contradictions += 1
            self._remember(found)

    def _remember(self, found: Contradiction) -> None:
        heapq.heappush(self._worst, found)
        if len(self._worst) > SHOWN:
            heapq.heappop(self._worst)


def _geometry(atoms: Atoms) -> tuple[int, np.ndarray]:
    """A 64-bit hash of the geometry, and the order of atoms that it was made in."""
    periodic = atoms.pbc & (atoms.cell.lengths() > 0)
    cell = complete_cell(np.where(periodic[:, None], atoms.cell.array, 0.0))
    steps = np.maximum(np.rint(np.linalg.norm(cell, axis=1) / RESOLUTION), 1.0)
    grid = np.floor(np.linalg.solve(cell.T, atoms.positions.T).T * steps + _OFFSET)
    grid[:, periodic] %= steps[periodic]
    order = np.lexsort((*grid.T, atoms.numbers))
    vectors = np.floor(cell[periodic] / RESOLUTION + _OFFSET)
    digest = hashlib.blake2b(digest_size=8)
    for part in (atoms.numbers[order], periodic, vectors, grid[order]):
        digest.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return int.from_bytes(digest.digest(), "little"), order


def _record(labels: Labels, order: np.ndarray, index: int) -> np.ndarray:
    record = np.full(_LENGTH, np.nan)
    record[0] = index
    if labels.energy is not None:
        record[1] = labels.energy
    if labels.forces is not None:
        record[2 : 2 + _PROJECTIONS] = _signs(len(order)) @ labels.forces[order].ravel()
    if labels.virial is not None:
        record[2 + _PROJECTIONS :] = labels.virial[np.triu_indices(3)]
    return record


@lru_cache(maxsize=64)
def _signs(n_atoms: int) -> np.ndarray:
    """±1, shape (4, 3 n_atoms)."""
    return np.random.default_rng(n_atoms).choice([-1.0, 1.0], (_PROJECTIONS, 3 * n_atoms))


def _compare(
    first: np.ndarray, second: np.ndarray, n_atoms: int, tolerances: tuple[float, float, float]
) -> Contradiction | None:
    difference = second - first
    forces = difference[2 : 2 + _PROJECTIONS]
    apart = np.array([
        abs(difference[1]) / n_atoms,
        np.sqrt(np.mean(forces**2) / (3 * n_atoms)),
        np.abs(difference[2 + _PROJECTIONS :]).max() / n_atoms,
    ])  # fmt: skip
    severity = apart / tolerances
    if not np.any(severity > 1.0):  # NaN: a label is missing
        return None
    shown = (float(value) for value in np.where(severity > 1.0, apart, 0.0))
    energies = (float(first[1]), float(second[1]))
    return Contradiction(float(np.nanmax(severity)), int(first[0]), int(second[0]), energies, *shown)
