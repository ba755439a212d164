"""One potential, described so that gapkit and gap_fit can both make it."""

from __future__ import annotations

from dataclasses import dataclass

from comparison.structures import SPECIES


@dataclass(frozen=True)
class Recipe:
    """SOAP and sparse points; `n_sparse` is per species of the central atom, on both sides.

    Fixed for all: cutoff 5 Å, atom_sigma 0.5 Å, ζ 4, δ 1 eV, noise 1 meV/atom, sparse points drawn at random.
    """

    n_sparse: int
    n_max: int = 8
    l_max: int = 6
    n_species: int = 1

    @property
    def species(self) -> tuple[str, ...]:
        return SPECIES[: self.n_species]

    @property
    def name(self) -> str:
        """Part of file names."""
        return f"{self.n_species}_{self.n_max}_{self.l_max}_{self.n_sparse}"

    def __str__(self) -> str:
        total = f" per species ({self.n_sparse * self.n_species} in all)" if self.n_species > 1 else ""
        return f"{', '.join(self.species)}; {self.n_max}, {self.l_max}; M = {self.n_sparse}{total}"
