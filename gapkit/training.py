"""The two walks over labelled frames that a fit makes: environments → sparse points, labels → row factors.

Each frame's features or rows are made (on all threads), used in order and dropped: memory does not grow with the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.covariance import ROW_BLOCK, n_columns, structure_rows
from gapkit.errors import InputError
from gapkit.gaussian_process.kernels import normalise
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.gaussian_process.sparse_pool import SparsePool, default_capacity
from gapkit.geometry.distances import closest_by_pair, shorter
from gapkit.memory import RowSizes
from gapkit.observations import Noise, noise_group, observations
from gapkit.quantities import KINDS
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
OUTLIER = "frame "  # begins the name of the group of a single frame
Group = tuple[str, str]  # kind, and a config type, "default", "all" or an outlier
Factors = dict[Group, RowFactor]


class Noises(NamedTuple):
    """How noisy the labels are.

    Attributes
    ----------
    energy, forces, virial : float or mapping of config_type to float
        eV/atom, eV/Å, eV/atom.
    by_config_type : bool
        Each config type is a group of its own, even where its noise is that of all.
    outliers : mapping of str to mapping
        Noise by kind of single frames, by `OUTLIER` and the frame's digest.
    """

    energy: Noise
    forces: Noise
    virial: Noise
    by_config_type: bool = False
    outliers: Mapping[str, Mapping[str, float]] = {}

    def group(self, kind: str, frame: Frame) -> Group:
        """The noise group of a frame's label."""
        if self.outliers and (name := OUTLIER + frame.digest()) in self.outliers:
            return kind, name
        noise: Noise = getattr(self, kind)
        if self.by_config_type and not isinstance(noise, Mapping):
            return kind, frame.labels.config_type
        return noise_group(kind, noise, frame.labels.config_type)

    def std(self, group: Group) -> float:
        """Noise of a group, in the units of its kind."""
        kind, name = group
        if name in self.outliers:
            return self.outliers[name][kind]
        noise: Noise = getattr(self, kind)
        return float(noise[name] if isinstance(noise, Mapping) else noise)


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
                self.rows[group] = self.rows.get(group, 0) + {"energy": 1, "virial": 6}.get(kind, 3 * len(atoms))
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
                "name their keys with read_structures(…, energy_key=…)."
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


class Recipe(NamedTuple):
    """Everything but the data that rows depend on; workers get it as it is."""

    terms: tuple[AnyTerm, ...]
    blocks: tuple[SparseBlock, ...]
    e0: dict[str, float]
    noises: Noises

    @property
    def n_sparse(self) -> int:
        """Columns of K_nm."""
        return n_columns(self.blocks)


class Rows(NamedTuple):
    """Rows (n, n_sparse) and targets (n,) of one kind of label of one frame, noise `scale` times that of the group."""

    group: Group
    K: np.ndarray
    y: np.ndarray
    scale: float


def frame_rows(recipe: Recipe, frame: Frame) -> list[Rows]:
    """Rows of every label of one frame."""
    atoms, labels = frame
    derivatives = labels.forces is not None or labels.virial is not None
    neighbourhoods = find_all_neighbourhoods(recipe.terms, atoms)
    rows = structure_rows(recipe.terms, recipe.blocks, neighbourhoods, atoms.numbers, derivatives)
    K = {"energy": rows.energy[None], "forces": rows.forces, "virial": rows.virial}
    offset = sum(recipe.e0[symbol] for symbol in atoms.symbols)
    return [
        Rows(recipe.noises.group(kind, frame), K[kind], y, scale)
        for kind, y, scale in observations(labels, offset, len(atoms))
    ]


def stream_rows(
    recipe: Recipe,
    frames: Iterable[Frame],
    factors: Factors,
    after: Callable[[Frame], None] = lambda frame: None,
    ahead: int | None = None,
    remove: bool = False,
) -> Factors:
    """The second walk: each frame's rows are folded into the factors of their groups (or taken away from them).

    Parameters
    ----------
    recipe : Recipe
    frames : iterable of Frame
    factors : dict of group to RowFactor
        Changed.
    after : callable
        Called with each frame once its rows are in.
    ahead : int, optional
        Most frames to work on before they are needed.
    remove : bool
        Take the rows away.
    """
    for frame, found in ordered_map(lambda frame: (frame, frame_rows(recipe, frame)), frames, ahead):
        for group, K, y, scale in found:
            factor = factors.setdefault(group, RowFactor(recipe.n_sparse))
            (factor.remove if remove else factor.add)(K, y, scale)
        after(frame)
    return factors


def row_sizes(recipe: Recipe, rows: Mapping[Group, int], largest_frame: int, n_neighbours: int) -> RowSizes:
    """What the memory of the second walk depends on."""
    n_features = max((block.X.shape[1] for block in recipe.blocks), default=0)
    moved = ROW_BLOCK * (3 * (n_neighbours + 1) + 6)
    return RowSizes(recipe.n_sparse, tuple(rows.values()), largest_frame, n_features, moved)
