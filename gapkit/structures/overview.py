"""A table of labelled frames, filled from a stream: counts, labels and ranges per config_type."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from gapkit.runtime.tables import aligned

if TYPE_CHECKING:
    from gapkit.structures.labels import Labels

_HEADINGS = ("config_type", "frames", "atoms", "E", "F", "S", "eV/atom from", "to", "max |F| eV/Å")


@dataclass
class _Row:
    """Counts and ranges of one config_type; the ends are infinite where there is no label yet."""

    frames: int = 0
    atoms: int = 0
    energies: int = 0
    forces: int = 0
    virials: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    largest_force: float = -np.inf

    def add(self, atoms: Atoms, labels: Labels) -> None:
        self.frames += 1
        self.atoms += len(atoms)
        self.energies += labels.energy is not None
        self.forces += labels.forces is not None
        self.virials += labels.virial is not None
        if labels.energy is not None:
            self.lowest = min(self.lowest, labels.energy / len(atoms))
            self.highest = max(self.highest, labels.energy / len(atoms))
        if labels.forces is not None:
            self.largest_force = max(self.largest_force, float(np.linalg.norm(labels.forces, axis=1).max()))

    def cells(self, name: str) -> tuple[str, ...]:
        counts = (self.frames, self.atoms, self.energies, self.forces, self.virials)
        energies = (f"{self.lowest:.4f}", f"{self.highest:.4f}") if self.energies else ("-", "-")
        return (name, *map(str, counts), *energies, f"{self.largest_force:.3f}" if self.forces else "-")


class StructureTable:
    """Frames, atoms, labels, energy range (eV/atom) and largest force (eV/Å) per config_type."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._total = _Row()
        self.species: Counter[str] = Counter()

    def add(self, atoms: Atoms, labels: Labels) -> None:
        """Add one frame."""
        self._rows.setdefault(labels.config_type, _Row()).add(atoms, labels)
        self._total.add(atoms, labels)
        self.species.update(atoms.get_chemical_symbols())

    @property
    def n_frames(self) -> int:
        """Frames so far."""
        return self._total.frames

    @property
    def n_labelled(self) -> int:
        """Labels so far: energies, sets of forces, stresses or virials."""
        return self._total.energies + self._total.forces + self._total.virials

    def __str__(self) -> str:
        own = [self._rows[name].cells(name) for name in sorted(self._rows)]
        table = aligned([_HEADINGS, *own, self._total.cells("total")], "l" + "r" * (len(_HEADINGS) - 1))
        species = ", ".join(f"{symbol} {self.species[symbol]}" for symbol in sorted(self.species))
        return f"{table}\nspecies: {species}"
