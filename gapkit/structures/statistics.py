"""Statistics of a set of labelled frames, from one pass: sizes, distances, labels and their spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from ase import Atoms

from gapkit.errors import InputError
from gapkit.geometry.distances import closest_by_pair, shorter
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.quantities import FITTED, KINDS
from gapkit.structures.duplicates import DuplicateFinder
from gapkit.structures.frames import Frame, Frames
from gapkit.structures.reference_energies import is_isolated

WITHIN = 5.0  # Å, within which neighbours are counted and distances compared
DENSE = 75  # percentile of these counts that stands for the inside of the material
CHARGES = ("charge", "total_charge")  # names in info


@dataclass(frozen=True)
class DataFacts:
    """Statistics of a set of labelled frames.

    Attributes
    ----------
    species : mapping of str to int
        Atoms of each, by symbol.
    sizes : tuple of int
        Number of atoms of each frame, increasing.
    labelled : mapping of {"energy", "forces", "virial"} to int
        Frames with this label.
    spread : mapping of {"energy", "forces", "virial"} to float
        Standard deviation of energies (eV/atom) among frames of one composition; root mean square of force components
        (eV/Å) and of virial components (eV/atom). 0 where there is none.
    forces_by_type : mapping of str to (float, int)
        Sum of squares (eV²/Å²) and number of force components of each config type, isolated atoms left out.
    largest_force : float, eV/Å
    config_types : mapping of str to int
    molecules, crystals, partial : int
        Frames without periodic directions, with three, and with one or two; isolated atoms do not count.
    isolated : frozenset of str
        Species with a frame of one isolated atom that has an energy.
    alone : frozenset of str
        Species that are in no other frame than those of one isolated atom.
    one_species_cells : int
        Periodic frames of one species, isolated atoms included.
    without_stress : int
        Crystals without stress or virial.
    thinnest : float or None
        Smallest distance between opposite faces of a periodic frame, Å.
    shortest : mapping of str to float
        Shortest distance of each pair of species nearer than 5 Å, Å.
    spacing : float or None
        Å; cube root of the volume per atom inside the material, from the number of neighbours within 5 Å.
    compositions : frozenset of tuple
        Fractions of the species, for frames with an energy.
    ratios : frozenset of tuple
        Numbers of atoms of the species without common divisor, for all frames but isolated atoms.
    charges : frozenset of float
        Total charges given in the frames.
    notes : tuple of str
        Sentences on duplicate frames.
    """

    species: Mapping[str, int]
    sizes: tuple[int, ...]
    labelled: Mapping[str, int]
    spread: Mapping[str, float]
    forces_by_type: Mapping[str, tuple[float, int]]
    largest_force: float
    config_types: Mapping[str, int]
    molecules: int
    crystals: int
    partial: int
    isolated: frozenset[str]
    alone: frozenset[str]
    one_species_cells: int
    without_stress: int
    thinnest: float | None
    shortest: Mapping[str, float]
    spacing: float | None
    compositions: frozenset[tuple[tuple[str, float], ...]]
    ratios: frozenset[tuple[tuple[str, int], ...]]
    charges: frozenset[float]
    notes: tuple[str, ...]

    def n_neighbours(self, cutoff: float) -> float:
        """Approximate number of atoms within a cutoff (Å) of an atom."""
        if self.spacing is None:
            return self.n_environments / self.n_frames - 1.0
        return float(4.0 / 3.0 * np.pi * (cutoff / self.spacing) ** 3)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.sizes)

    @property
    def n_environments(self) -> int:
        """Number of atoms of all frames."""
        return sum(self.sizes)

    def rows(self) -> dict[str, int]:
        """Labels of each kind, components counted, as if all frames with that label were of mean size."""
        mean = self.n_environments / self.n_frames
        return {kind: round(FITTED[kind].n_rows(mean) * n) for kind, n in self.labelled.items()}


def find_facts(frames: Frames) -> DataFacts:
    """Statistics of the frames, from one pass.

    Raises
    ------
    InputError
        If no frame has a label, and as `find_neighbourhoods`.
    """
    sums = _Sums()
    for frame in frames:
        sums.add(frame)
    if not any(sums.labelled.values()):
        raise InputError(
            f"none of the {len(sums.sizes)} frames has an energy, forces or a stress: label them, or say where the "
            "labels are."
        )
    return sums.facts()


@dataclass
class _Sums:
    """Sums over one pass."""

    species: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    labelled: Counter[str] = field(default_factory=Counter)
    squares: dict[str, list[float]] = field(default_factory=lambda: {"forces": [0.0, 0.0], "virial": [0.0, 0.0]})
    energies: dict[tuple[tuple[str, float], ...], list[float]] = field(default_factory=dict)
    forces_by_type: dict[str, tuple[float, int]] = field(default_factory=dict)
    largest_force: float = 0.0
    config_types: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    isolated: set[str] = field(default_factory=set)
    bonded: set[str] = field(default_factory=set)
    thinnest: float = np.inf
    shortest: dict[str, float] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    ratios: set[tuple[tuple[str, int], ...]] = field(default_factory=set)
    charges: set[float] = field(default_factory=set)
    duplicates: DuplicateFinder = field(default_factory=DuplicateFinder)

    def add(self, frame: Frame) -> None:
        atoms, labels = frame
        self.duplicates.add(atoms, labels, len(self.sizes))
        self.species.update(atoms.get_chemical_symbols())
        self.sizes.append(len(atoms))
        self.config_types[labels.config_type] += 1
        self.charges.update(float(atoms.info[key]) for key in CHARGES if np.isscalar(atoms.info.get(key))
                            and not isinstance(atoms.info[key], str))  # fmt: skip
        self._add_labels(frame)
        if atoms.pbc.any() and len(set(atoms.numbers)) == 1:
            self.kinds["one species"] += 1
        if is_isolated(atoms, labels):
            self.kinds["isolated"] += 1
            if labels.energy is not None:
                self.isolated.add(atoms.symbols[0])
            return
        self.bonded.update(atoms.get_chemical_symbols())
        self.ratios.add(_ratio(atoms))
        self._add_geometry(atoms)
        if atoms.pbc.all() and labels.virial is None:
            self.kinds["without stress"] += 1

    def _add_labels(self, frame: Frame) -> None:
        atoms, labels = frame
        self.labelled.update(kind for kind in KINDS if getattr(labels, kind) is not None)
        if labels.energy is not None:
            self.energies.setdefault(_composition(atoms), []).append(labels.energy / len(atoms))
        for kind, scale in (("forces", 1.0), ("virial", 1.0 / len(atoms))):
            if (values := getattr(labels, kind)) is not None:
                self.squares[kind][0] += float(np.sum((values * scale) ** 2))
                self.squares[kind][1] += np.size(values)
        if labels.forces is not None:
            self.largest_force = max(self.largest_force, float(np.linalg.norm(labels.forces, axis=1).max()))
            if not is_isolated(atoms, labels):
                total, n = self.forces_by_type.get(labels.config_type, (0.0, 0))
                self.forces_by_type[labels.config_type] = total + float(np.sum(labels.forces**2)), n + 3 * len(atoms)

    def _add_geometry(self, atoms: Atoms) -> None:
        n_periodic = int(atoms.pbc.sum())
        self.kinds[("molecule", "partial", "partial", "crystal")[n_periodic]] += 1
        nb = find_neighbourhoods(atoms, WITHIN)
        self.shortest = shorter(self.shortest, closest_by_pair(nb, atoms.numbers))
        if n_periodic:
            reciprocal = np.linalg.norm(atoms.cell.complete().reciprocal().array, axis=1)
            self.thinnest = min(self.thinnest, float((1.0 / reciprocal[atoms.pbc]).min()))
            self.counts.update(np.diff(nb.first).tolist())

    def facts(self) -> DataFacts:
        """The statistics of all frames added."""
        return DataFacts(
            species=dict(sorted(self.species.items())),
            sizes=tuple(sorted(self.sizes)),
            labelled={kind: self.labelled[kind] for kind in KINDS},
            spread=self._spread(),
            forces_by_type=dict(self.forces_by_type),
            largest_force=self.largest_force,
            config_types=dict(self.config_types),
            molecules=self.kinds["molecule"],
            crystals=self.kinds["crystal"],
            partial=self.kinds["partial"],
            isolated=frozenset(self.isolated),
            alone=frozenset(self.species) - self.bonded,
            one_species_cells=self.kinds["one species"],
            without_stress=self.kinds["without stress"],
            thinnest=self.thinnest if np.isfinite(self.thinnest) else None,
            shortest=dict(sorted(self.shortest.items())),
            spacing=self._spacing(),
            compositions=frozenset(self.energies),
            ratios=frozenset(self.ratios),
            charges=frozenset(self.charges),
            notes=tuple(self.duplicates.messages()),
        )

    def _spread(self) -> dict[str, float]:
        squares = {kind: float(np.sqrt(total / n)) if n else 0.0 for kind, (total, n) in self.squares.items()}
        several = [np.asarray(values) for values in self.energies.values() if len(values) > 1]
        around = np.concatenate([values - values.mean() for values in several]) if several else np.zeros(1)
        return {"energy": float(np.sqrt(np.mean(around**2))), **squares}

    def _spacing(self) -> float | None:
        if not self.counts:
            return None
        count = np.percentile(np.repeat(*np.array(sorted(self.counts.items())).T), DENSE)
        return None if count < 1 else float((4.0 / 3.0 * np.pi * WITHIN**3 / (count + 1.0)) ** (1 / 3))


def _composition(atoms: Atoms) -> tuple[tuple[str, float], ...]:
    counts = Counter(atoms.get_chemical_symbols())
    return tuple((symbol, round(n / len(atoms), 9)) for symbol, n in sorted(counts.items()))


def _ratio(atoms: Atoms) -> tuple[tuple[str, int], ...]:
    counts = Counter(atoms.get_chemical_symbols())
    common = gcd(*counts.values())
    return tuple((symbol, n // common) for symbol, n in sorted(counts.items()))
