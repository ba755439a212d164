"""The first pass over labelled frames: environments → sparse points, counts, reference energies.

Each frame's features are computed (on all threads), used in order and dropped: memory does not grow with the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit.errors import InputError, Parameter
from gapkit.fitting.noise import Group, Noises
from gapkit.geometry.distances import closest_by_pair, shorter
from gapkit.quantities import FITTED, KINDS
from gapkit.runtime.progress import Track
from gapkit.runtime.threads import ordered_map
from gapkit.structures.duplicates import DuplicateFinder
from gapkit.structures.frames import Frame
from gapkit.structures.reference_energies import ReferenceEnergies
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm, Pool

Selection = dict[tuple[int, str], dict[str, Any]]  # how functions were chosen, by term and name of the block

N_REFERENCE = 3  # training structures whose predictions travel with the model file and are checked on load
POOL_BYTES = 2**27  # of all environments that may become sparse points: 60 000 of 252 features


class FrameCandidates(NamedTuple):
    """Candidates of one frame for the choice of functions, by (term, key), and its largest number of neighbours.

    The shortest distance (Å) of each pair of species is that within the largest cutoff.
    """

    offered: list[tuple[tuple[int, int], Any]]
    n_neighbours: int
    shortest: dict[str, float]


def candidates(terms: Sequence[AdditiveTerm], atoms: Atoms) -> FrameCandidates:
    """Candidates of all terms in one frame."""
    found = Basis(tuple(terms), ()).environments(atoms)
    offered = [
        ((t, key), what)
        for t, (term, nb) in enumerate(zip(terms, found.neighbourhoods))
        for key, what in term.candidates(nb, found.numbers)
    ]
    n_neighbours = max(int(np.diff(nb.first).max()) for nb in found.neighbourhoods)
    return FrameCandidates(offered, n_neighbours, closest_by_pair(found.longest, found.numbers))


class SparsePools:
    """Candidates for the sparse points of every term and species, gathered from a stream of frames.

    Parameters
    ----------
    terms : sequence of Term
    random_state : int
    n_bytes : int, optional
        Memory that is left; a quarter of it, or `POOL_BYTES` if that is less, holds candidates.
    """

    def __init__(self, terms: Sequence[AdditiveTerm], random_state: int, n_bytes: int | None = None) -> None:
        self._terms, self._random_state = tuple(terms), random_state
        self._n_bytes = POOL_BYTES if n_bytes is None else min(max(n_bytes, 0) // 4, POOL_BYTES)
        self.pools: dict[tuple[int, int], Pool] = {}  # by term and key
        self.n_neighbours = 0
        self.shortest: dict[str, float] = {}  # distance of every pair of species, Å

    def add(self, found: FrameCandidates) -> None:
        """Add the candidates of one frame."""
        for (t, key), offered in found.offered:
            if (t, key) not in self.pools:
                self.pools[t, key] = self._new(t, key)
            self.pools[t, key].add(offered)
        self.n_neighbours = max(self.n_neighbours, found.n_neighbours)
        self.shortest = shorter(self.shortest, found.shortest)

    def empty(self) -> SparsePools:
        """Pools of the same kind without candidates."""
        new = SparsePools(self._terms, self._random_state)
        new._n_bytes = self._n_bytes
        return new

    def _new(self, t: int, key: int) -> Pool:
        n_pools = sum(term.n_pools for term in self._terms)
        return self._terms[t].pool(key, self._random_state, self._n_bytes // max(n_pools, 1))

    def merge(self, other: SparsePools) -> None:
        """Add the candidates of another worker, gathered from later frames."""
        for key, pool in other.pools.items():
            if key in self.pools:
                self.pools[key].merge(pool)
            else:
                self.pools[key] = pool
        self.n_neighbours = max(self.n_neighbours, other.n_neighbours)
        self.shortest = shorter(self.shortest, other.shortest)

    def thin(self) -> None:
        """Hold fewer, if candidates had to be dropped."""
        for pool in self.pools.values():
            pool.thin()

    def choose(self) -> tuple[Basis, Selection]:
        """Functions of all terms, and how they were chosen; this empties the pools."""
        points, selection = {}, {}
        for t, key in sorted(self.pools):
            points[t, key], report = self.pools.pop((t, key)).choose()
            selection[t, self._terms[t].block_name(key)] = report._asdict() | {"text": str(report)}
        return Basis.of_points(self._terms, points), selection


class Summary:
    """What is known of frames without any descriptor: counts, reference energies, a fingerprint."""

    def __init__(self) -> None:
        self.n_structures = 0
        self.config_types: dict[str, dict[str, int]] = {}
        self.sha256 = ""
        self.frames: Counter[int] = Counter()  # by Frame.identity
        self.energies = ReferenceEnergies()
        self.duplicates = DuplicateFinder()
        self.rows: dict[Group, int] = {}
        self.largest_frame = 0
        self._smallest: dict[str, Atoms] = {}  # by config type

    def add(self, frame: Frame, noises: Noises) -> None:
        """Count one frame; refuses a label whose noise is not known."""
        atoms, labels = frame
        kinds = {kind: getattr(labels, kind) for kind in KINDS}
        row = self.config_types.setdefault(labels.config_type, dict.fromkeys(("frames", "atoms", *kinds), 0))
        row["frames"] += 1
        row["atoms"] += len(atoms)
        for kind, value in kinds.items():
            row[kind] += value is not None
            group = noises.group(kind, frame)
            if value is not None:
                self.rows[group] = self.rows.get(group, 0) + FITTED[kind].n_rows(len(atoms))
        self.energies.add(atoms, labels)
        self.duplicates.add(atoms, labels, self.n_structures)
        self.sha256 = frame.digest(self.sha256)
        self.frames[frame.identity()] += 1
        self.n_structures += 1
        self.largest_frame = max(self.largest_frame, len(atoms))
        if len(atoms) < len(self._smallest.get(labels.config_type, range(10**9))):
            self._smallest[labels.config_type] = frame.bare()

    def references(self) -> list[Atoms]:
        """A few small frames of different config types."""
        return sorted(self._smallest.values(), key=len)[:N_REFERENCE]

    def check(self) -> None:
        """Raise `InputError` unless there is a label."""
        if not self.rows:
            raise InputError(
                f"none of the {self.n_structures} frames has an energy, forces or a stress: "
                "name their keys with read_structures(…, ",
                Parameter("energy_key", "…"),
                ").",
            )

    def as_dict(self) -> dict[str, Any]:
        """Counts and fingerprint, as they go into model files."""
        return {"n_structures": self.n_structures, "config_types": self.config_types, "sha256": self.sha256}


def survey(
    terms: Sequence[AdditiveTerm],
    frames: Iterable[Frame],
    n_frames: int | None,
    noises: Noises,
    pools: SparsePools,
    follow: Track,
) -> Summary:
    """The first pass: candidates for the sparse points into `pools`, everything else into a summary."""
    summary = Summary()
    found = ordered_map(lambda frame: (frame, checked_candidates(terms, frame)), frames)
    for frame, offered in follow(found, "descriptors", n_frames):
        pools.add(offered)
        summary.add(frame, noises)
    summary.check()
    return summary


def checked_candidates(terms: Sequence[AdditiveTerm], frame: Frame) -> FrameCandidates:
    """`candidates`, after a check of the species."""
    Basis(tuple(terms), ()).check_species(np.unique(frame.atoms.numbers))
    return candidates(terms, frame.atoms)
