"""The two walks over labelled frames that a fit makes: environments → sparse points, labels → row factors.

Each frame's features or rows are made (on all threads), used in order and dropped: memory does not grow with the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.errors import InputError, Parameter
from gapkit.fitting.noise import Group, Noises
from gapkit.gaussian_process.kernels import normalise
from gapkit.gaussian_process.sparse_pool import SparsePool, default_capacity
from gapkit.geometry.distances import closest_by_pair, shorter
from gapkit.quantities import FITTED, KINDS
from gapkit.runtime.progress import Track
from gapkit.runtime.threads import ordered_map
from gapkit.structures.duplicates import DuplicateFinder
from gapkit.structures.frames import Frame
from gapkit.structures.reference_energies import ReferenceEnergies
from gapkit.terms.evaluate import centre_blocks, find_all_neighbourhoods
from gapkit.terms.feature_pool import FeaturePool
from gapkit.terms.feature_term import Candidates, FeatureTerm
from gapkit.terms.term import ALL_SPECIES, AnyTerm, SparseBlock, Term, farthest

N_REFERENCE = 3  # training structures whose predictions travel with the model file and are checked on load
POOL_BYTES = 2**27  # of all environments that may become sparse points: 60 000 of 252 features


# ---- the first walk


class Environments(NamedTuple):
    """Normalised features (n, n_features) of one frame by (term, species), and its largest number of neighbours.

    Of a `FeatureTerm`, under (term, `ALL_SPECIES`), what it offers for the choice of sparse points. The shortest
    distance (Å) of each pair of species is that within the largest cutoff.
    """

    features: list[tuple[tuple[int, int], np.ndarray | Candidates]]
    n_neighbours: int
    shortest: dict[str, float]


def environments(terms: Sequence[AnyTerm], atoms: Atoms) -> Environments:
    """Features of all atoms of one frame."""
    neighbourhoods = find_all_neighbourhoods(terms, atoms)
    candidates = [
        SparseBlock(t, int(z), np.empty((0, 0)), slice(0, 0))
        for t, term in enumerate(terms)
        if isinstance(term, Term)
        for z in np.unique(atoms.numbers)
    ]
    walk = centre_blocks(terms, candidates, neighbourhoods, atoms.numbers)
    features: list[tuple[tuple[int, int], np.ndarray | Candidates]] = [
        ((block.term, block.number), normalise(values)[0]) for block, _, _, values, _ in walk
    ]
    for t, term in enumerate(terms):
        if isinstance(term, FeatureTerm):
            features.append(((t, ALL_SPECIES), term.candidates(neighbourhoods[t], atoms.numbers)))
    n_neighbours = max(int(np.diff(nb.first).max()) for nb in neighbourhoods)
    return Environments(features, n_neighbours, closest_by_pair(neighbourhoods[farthest(terms)], atoms.numbers))


class SparsePools:
    """Candidates for the sparse points of every term and species, gathered from a stream of frames.

    Parameters
    ----------
    terms : sequence of Term
    random_state : int
    n_bytes : int, optional
        Memory that is left; a quarter of it, or `POOL_BYTES` if that is less, holds candidates.
    """

    def __init__(self, terms: Sequence[AnyTerm], random_state: int, n_bytes: int | None = None) -> None:
        self._terms, self._random_state = tuple(terms), random_state
        self._n_bytes = POOL_BYTES if n_bytes is None else min(max(n_bytes, 0) // 4, POOL_BYTES)
        self.pools: dict[tuple[int, int], Any] = {}  # a SparsePool, or a FeaturePool
        self.n_neighbours = 0
        self.shortest: dict[str, float] = {}  # distance of every pair of species, Å

    def add(self, found: Environments) -> None:
        """Take one frame's environments in."""
        for key, Q in found.features:
            if key not in self.pools:
                self.pools[key] = self._new(*key)
            self.pools[key].add(Q)
        self.n_neighbours = max(self.n_neighbours, found.n_neighbours)
        self.shortest = shorter(self.shortest, found.shortest)

    def empty(self) -> SparsePools:
        """Pools of the same kind without candidates."""
        new = SparsePools(self._terms, self._random_state)
        new._n_bytes = self._n_bytes
        return new

    def _new(self, t: int, z: int) -> SparsePool | FeaturePool:
        term, symbol = self._terms[t], chemical_symbols[z]
        if isinstance(term, FeatureTerm):
            return FeaturePool(term, self._random_state)
        n_sparse = term.n_sparse[symbol] if isinstance(term.n_sparse, Mapping) else term.n_sparse
        n_pools = sum(len(term.descriptor.numbers) for term in self._terms if isinstance(term, Term))
        capacity = default_capacity(term.descriptor.n_features, int(n_sparse), self._n_bytes // n_pools)
        return SparsePool(int(n_sparse), term.sparsification, self._random_state, capacity)

    def merge(self, other: SparsePools) -> None:
        """Take in what another worker has gathered from later frames."""
        for key, pool in other.pools.items():
            if key in self.pools:
                self.pools[key].merge(pool)
            else:
                self.pools[key] = pool
        self.n_neighbours = max(self.n_neighbours, other.n_neighbours)
        self.shortest = shorter(self.shortest, other.shortest)

    def thin(self) -> None:
        """Once candidates had to be dropped, hold fewer."""
        for pool in self.pools.values():
            pool.thin()

    def choose(self) -> tuple[tuple[SparseBlock, ...], dict[str, Any]]:
        """Sparse points by term and species, and how they were chosen; the pools are emptied on the way."""
        blocks, reports, start = [], {}, 0
        for t, z in sorted(self.pools):
            X, report = self.pools.pop((t, z)).choose()
            blocks.append(SparseBlock(t, z, X, slice(start, start + len(X))))
            reports[f"{t} {chemical_symbols[z]}"] = report._asdict() | {"text": str(report)}
            start += len(X)
        return tuple(blocks), reports


class Summary:
    """What there is to know of frames without computing anything: counts, reference energies, a fingerprint."""

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
    terms: Sequence[AnyTerm],
    frames: Iterable[Frame],
    n_frames: int | None,
    noises: Noises,
    pools: SparsePools,
    follow: Track,
) -> Summary:
    """The first walk: candidates for the sparse points into `pools`, everything else into a summary."""
    summary = Summary()
    walk = ordered_map(lambda frame: (frame, checked_environments(terms, frame)), frames)
    for frame, found in follow(walk, "descriptors", n_frames):
        pools.add(found)
        summary.add(frame, noises)
    summary.check()
    return summary


def checked_environments(terms: Sequence[AnyTerm], frame: Frame) -> Environments:
    """`environments`, after a look at the species."""
    check_species(terms, np.unique(frame.atoms.numbers))
    return environments(terms, frame.atoms)


def check_species(terms: Sequence[AnyTerm], numbers: np.ndarray) -> None:
    """Raise `InputError` for terms that do not know one of these atomic numbers."""
    for term in terms:
        term.check_species(numbers)
        if isinstance(term, FeatureTerm):
            continue
        missing = [chemical_symbols[z] for z in numbers if isinstance(term.n_sparse, Mapping)]
        missing = [symbol for symbol in missing if symbol not in term.n_sparse]  # type: ignore[operator]
        if missing:
            raise InputError(f"n_sparse = {dict(term.n_sparse)} has no entry for {', '.join(missing)}: add one.")  # type: ignore[arg-type]


# ---- the second walk
