"""The screened repulsion of nuclei, which keeps atoms apart where there are no training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from gapkit._numba.repulsion import repulsion_gradients, screened_repulsion
from gapkit.checks import check_fields
from gapkit.errors import InputError, did_you_mean, warn
from gapkit.geometry.distances import distance_warning, pair_name, pair_names, shortest_distances
from gapkit.geometry.neighbourhoods import SHORTEST_DISTANCE, Neighbourhoods, find_neighbourhoods
from gapkit.quantities import COULOMB
from gapkit.structures.properties import Properties
from gapkit.structures.species import check_symbols, unknown_species

SCREENING_LENGTH = 0.46850  # Å
BOND_FRACTION = 0.65  # of the sum of covalent radii: Ti and O of hot SrTiO3 come as close as 0.69 of it
NOTICED = 0.01  # eV, of a pair: less is ignored
SWITCH_FRACTION = 0.6  # inner / outer: over such a range the switch adds little to the slope
TRAINING_FRACTION = 0.95  # of the shortest training distance

Radii = float | Mapping[str, float] | None


@dataclass(frozen=True)
class ZBL:
    """Ziegler–Biersack–Littmark repulsion, switched off smoothly between two radii.

    With d = r/a and a = 0.46850 Å / (Z_i^0.23 + Z_j^0.23), each pair has

        V(r) = Z_i Z_j e²/(4πε₀ r) · φ(d) · s(r)
        φ(d) = 0.18175 e^{-3.19980 d} + 0.50986 e^{-0.94229 d} + 0.28022 e^{-0.40290 d} + 0.02817 e^{-0.20162 d}
        s(r) = 1 up to inner, (1 - t)³ (1 + 3 t + 6 t²) with t = (r - inner)/(outer - inner), 0 from outer on

    which is twice continuously differentiable. J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of
    Ions in Matter, vol. 1 (Pergamon, 1985); digits as in LAMMPS's ``pair_style zbl``.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols.
    inner, outer : float or mapping of pair to float, optional
        Å, for all pairs or for those named ``"Na-Cl"`` (either order). Not given: outer is 0.65 of the sum of covalent
        radii, inner 0.6 of outer. `from_structures` takes both from data.
    shortest : mapping of pair to float
        Shortest training distances, Å, for `distance_warning`.
    """

    species: Sequence[str]
    inner: Radii = None
    outer: Radii = None
    shortest: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_structures(cls, structures: Iterable[Atoms], species: Sequence[str] | None = None) -> ZBL:
        """Radii from data: outer is 0.95 of the shortest distance seen, at most the sum of covalent radii.

        Thus nothing is subtracted from any training frame, and nothing acts across a bond that the data lack.

        Parameters
        ----------
        structures : iterable of Atoms
            Read in one pass.
        species : sequence of str, optional
            Species besides those of the structures.

        Raises
        ------
        InputError
            If there are no structures, and as `find_neighbourhoods`.
        """
        present: set[str] = set()
        shortest = shortest_distances(_noting_species(structures, present))
        if not present:
            raise InputError("ZBL.from_structures needs at least one structure to take radii from.")
        wanted = sorted(present | set(species or ()), key=lambda symbol: atomic_numbers.get(symbol, 0))
        check_symbols(wanted, "ZBL")
        outer = {}
        for name in pair_names(wanted):
            seen = TRAINING_FRACTION * shortest.get(name, np.inf)
            outer[name] = round(min(seen, _bond_length(*name.split("-"))), 4)
        inner = {name: round(SWITCH_FRACTION * radius, 4) for name, radius in outer.items()}
        return cls(tuple(wanted), inner, outer, shortest)

    @property
    def radii(self) -> dict[str, tuple[float, float]]:
        """Inner and outer radius (Å) of every pair."""
        found = {}
        for name in pair_names(list(self.species)):
            outer = _radius(self.outer, name, BOND_FRACTION * _bond_length(*name.split("-")))
            found[name] = (_radius(self.inner, name, SWITCH_FRACTION * outer), outer)
        return found

    @property
    def cutoff(self) -> float:
        """The largest outer radius, Å."""
        return max(outer for _, outer in self.radii.values())

    def validate(self) -> None:
        """Raise `InputError` for unknown species and radii that are not 0 ≤ inner < outer."""
        check_symbols(self.species, "ZBL")
        check_fields(self)
        for name, radii in (("inner", self.inner), ("outer", self.outer), ("shortest", self.shortest)):
            if isinstance(radii, Mapping):
                _check_pairs(name, radii, list(self.species))
        for pair, (inner, outer) in self.radii.items():
            if not (0 <= inner < outer and SHORTEST_DISTANCE < outer < np.inf):
                raise InputError(
                    f"ZBL's radii of {pair} are inner = {inner} and outer = {outer} Å: "
                    f"inner must be smaller than outer, and outer larger than {SHORTEST_DISTANCE} Å."
                )

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if `numbers` holds a species that is not among `species`."""
        if unknown := unknown_species(numbers, self.species):
            raise InputError(
                f"the structure holds {', '.join(unknown)} but ZBL's species are {', '.join(self.species)}: "
                f"add {', '.join(unknown)} to ZBL(species=…)."
            )

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces, strain derivative and local energies (half of each pair) of a structure.

        Raises
        ------
        InputError
            For a species that is not among `species`, and as `find_neighbourhoods`.
        """
        self.check_species(atoms.numbers)
        table, index = self._table()
        nb = find_neighbourhoods(atoms, self.cutoff)
        local, forces, strain = screened_repulsion(nb.first, nb.j, nb.D, index[atoms.numbers], table)
        return Properties(float(local.sum()), forces, strain, local)

    def of_pairs(self, nb: Neighbourhoods, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Local energies (n_centres,) and their gradients by D (n_pairs, 3) of some centres, pairs up to any cutoff.

        Every pair has half of its energy from each of its atoms, as in `evaluate`.
        """
        table, index = self._table()
        e, g = np.empty(len(nb.centres)), np.empty((len(nb.j), 3))
        repulsion_gradients(nb.first, nb.centres, nb.j, nb.D, index[numbers], table, e, g)
        return e, g

    def distance_warning(self, atoms: Atoms) -> str | None:
        """One sentence if two atoms are closer than any of their species were in training, else None."""
        return distance_warning(atoms, {_canonical(pair): distance for pair, distance in self.shortest.items()})

    def overlap(self, shortest: Mapping[str, float]) -> str | None:
        """One sentence if the repulsion acts at the distances of training data (Å, by pair), else None.

        There it is steep, and no smooth fit cancels it well: test forces of SrTiO3 and Cu were worse by half and more.
        """
        found = []
        for pair, distance in shortest.items():
            symbols = pair.split("-")
            if set(symbols) <= set(self.species) and distance < self.radii[pair][1]:
                V = self.evaluate(Atoms(symbols, [[0, 0, 0], [0, 0, distance]])).energy
                if V > NOTICED:
                    found.append(f"{pair} at {distance:.3f} Å ({V:.2g} eV, outer radius {self.radii[pair][1]:.3f} Å)")
        if not found:
            return None
        return (
            f"the ZBL baseline acts at distances of the training data, {', '.join(found)}: "
            "the fit must cancel it, which costs accuracy; use ZBL.from_structures(frames), or smaller radii."
        )

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Z_i Z_j e²/(4πε₀), 1/a, inner and outer per pair (n, n, 4), and the row of each atomic number."""
        radii, index = self.radii, np.full(len(chemical_symbols), -1)
        table = np.empty((len(self.species), len(self.species), 4))
        for i, a in enumerate(self.species):
            index[atomic_numbers[a]] = i
            for j, b in enumerate(self.species):
                z, w = atomic_numbers[a], atomic_numbers[b]
                table[i, j] = z * w * COULOMB, (z**0.23 + w**0.23) / SCREENING_LENGTH, *radii[pair_name(a, b)]
        return table, index


def warn_of_overlap(baselines: Sequence[object], shortest: Mapping[str, float]) -> None:
    """Warn of every ZBL baseline that acts at distances of the training data."""
    for zbl in baselines:
        if isinstance(zbl, ZBL) and (sentence := zbl.overlap(shortest)):
            warn(sentence, UserWarning)


def _noting_species(structures: Iterable[Atoms], present: set[str]) -> Iterator[Atoms]:
    """The structures, unchanged; their symbols are added to `present`."""
    for atoms in structures:
        present.update(atoms.symbols)
        yield atoms


def _bond_length(a: str, b: str) -> float:
    return float(covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]])


def _radius(radii: Radii, pair: str, default: float) -> float:
    if radii is None:
        return default
    if isinstance(radii, Mapping):
        return float({_canonical(name): radius for name, radius in radii.items()}.get(pair, default))
    return float(radii)


def _canonical(pair: str) -> str:
    return pair_name(*pair.split("-"))


def _check_pairs(name: str, radii: Mapping[str, float], species: Sequence[str]) -> None:
    """Each key is a pair of known species, named once; each value is a positive number."""
    seen = set()
    for pair, radius in radii.items():
        symbols = pair.split("-")
        if len(symbols) != 2 or not set(symbols) <= set(species):
            raise InputError(f"ZBL's {name} has no pair {pair!r}{did_you_mean(pair, pair_names(species))}.")
        if _canonical(pair) in seen:
            raise InputError(f"ZBL's {name} names the pair {_canonical(pair)} twice: keep one of the two orders.")
        if not 0 <= radius < np.inf:
            raise InputError(f"ZBL's {name}[{pair!r}] = {radius} must be a distance in Å.")
        seen.add(_canonical(pair))
