"""Reference energies e0 of the species: isolated atoms first, least squares for the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import minkowski_reduce

from gapkit.checks import is_number
from gapkit.errors import InputError, warn

if TYPE_CHECKING:
    from gapkit.structures.labels import Labels

logger = logging.getLogger("gapkit")

_ISOLATION = 6.0  # Å between images of a single atom that count as no neighbours
_AGREEMENT = 1e-3  # eV within which two isolated atoms are the same atom computed twice


def check_e0(e0: Any) -> None:
    """Raise `InputError` unless `e0` is None or maps chemical symbols to numbers."""
    if e0 is not None and not isinstance(e0, Mapping):
        raise InputError(f"e0 = {e0!r} must map symbols to energies in eV, as {{'Si': -103.2}}, or be None.")
    for symbol, energy in (e0 or {}).items():
        if not isinstance(symbol, str) or atomic_numbers.get(symbol, 0) < 1:
            raise InputError(f"e0 has an unknown species {symbol!r}: write chemical symbols, such as Si.")
        if not is_number(energy):
            raise InputError(f"e0[{symbol!r}] = {energy!r} must be a number in eV.")


def find_e0(structures: Sequence[Atoms], labels: Sequence[Labels]) -> dict[str, float]:
    """Reference energy e0 (eV) of every species in `structures`.

    Isolated atoms (one atom that is not periodic, or at least 6 Å from its images, or of config_type isolated_atom)
    give theirs. The other species solve min Σ (E/N - Σ_Z e0_Z n_Z/N)² over the compositions n of the remaining frames;
    what these leave open is set by the smallest deviation from one common energy per atom.

    Parameters
    ----------
    structures : sequence of Atoms
    labels : sequence of Labels
        One per structure.

    Returns
    -------
    dict of str to float
        Symbol to energy, eV, ordered by atomic number.

    Warns
    -----
    UserWarning
        If the compositions cannot separate some species, or if there is no energy at all (all zero then).

    Raises
    ------
    InputError
        If lengths differ or are zero, or if two isolated atoms of one species contradict each other.
    """
    if len(structures) != len(labels) or len(labels) == 0:
        raise InputError(
            f"there are {len(structures)} structures but {len(labels)} labels, give one for each of at least one."
        )
    found = ReferenceEnergies()
    for atoms, label in zip(structures, labels):
        found.add(atoms, label)
    return found.e0()


class _Isolated(NamedTuple):
    """Isolated atoms of one species: how many, sum of their energies, and (energy, frame) of the extremes."""

    n: int
    total: float
    lowest: tuple[float, int]
    highest: tuple[float, int]


class ReferenceEnergies:
    """`find_e0` of a stream of frames; memory grows with the number of distinct compositions, not of frames."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self._n_frames = 0
        self._isolated: dict[int, _Isolated] = {}
        self._compositions: dict[tuple[tuple[int, int], ...], tuple[int, float]] = {}  # frames, sum of their energies

    def add(self, atoms: Atoms, label: Labels) -> None:
        """Add one frame."""
        numbers, counts = np.unique(atoms.numbers, return_counts=True)
        self.numbers |= set(numbers.tolist())
        if label.energy is not None:
            if is_isolated(atoms, label):
                self._add_isolated(int(numbers[0]), (label.energy, self._n_frames))
            composition = tuple(zip(numbers.tolist(), counts.tolist()))
            n, total = self._compositions.get(composition, (0, 0.0))
            self._compositions[composition] = (n + 1, total + label.energy)
        self._n_frames += 1

    def _add_isolated(self, z: int, new: tuple[float, int]) -> None:
        old = self._isolated.get(z, _Isolated(0, 0.0, new, new))
        lowest, highest = min(old.lowest, new), max(old.highest, new)
        self._isolated[z] = _Isolated(old.n + 1, old.total + new[0], lowest, highest)
        if highest[0] - lowest[0] > _AGREEMENT:
            (first, energy), (last, other) = sorted([lowest[::-1], highest[::-1]])
            raise InputError(
                f"the isolated atoms of {chemical_symbols[z]} in frames {first} and {last} have different energies "
                f"({energy:.6f} and {other:.6f} eV), keep the one computed with the settings of the other frames."
            )

    def e0(self) -> dict[str, float]:
        """Symbol to energy, eV, ordered by atomic number; warns as `find_e0`."""
        numbers = sorted(self.numbers)
        if not self._compositions:
            warn("no frame has an energy: e0 is zero for every species, fit to forces only.")
            return {chemical_symbols[z]: 0.0 for z in numbers}
        e0 = {z: found.total / found.n for z, found in self._isolated.items()}
        unknown = [z for z in numbers if z not in e0]
        if unknown:
            fitted, n_open, inseparable = self._from_compositions(e0, unknown)
            if n_open:
                _warn_inseparable([chemical_symbols[unknown[k]] for k in inseparable], n_open)
            e0 |= dict(zip(unknown, map(float, fitted)))
        for z in numbers:
            source = "least squares" if z in unknown else "isolated atom"
            logger.info("e0: %s %.6f eV from %s", chemical_symbols[z], e0[z], source)
        return {chemical_symbols[z]: e0[z] for z in numbers}

    def _from_compositions(self, known: dict[int, float], unknown: list[int]) -> tuple[np.ndarray, int, list[int]]:
        """e0 of the unknown species, how many combinations of them are open, indices of the species in these."""
        rows, targets, weights = [], [], []
        for composition, (n, total) in self._compositions.items():
            counts = dict(composition)
            size = sum(counts.values())
            if any(z in counts for z in unknown):
                rest = total / n - sum(known.get(z, 0.0) * count for z, count in composition)
                rows.append(np.array([counts.get(z, 0) for z in unknown]) / size)
                targets.append(rest / size)
                weights.append(n)
        if not rows:
            return np.zeros(len(unknown)), len(unknown), list(range(len(unknown)))
        X, y, w = np.array(rows), np.array(targets), np.array(weights, dtype=float)
        mean = (w @ y) / (w @ X).sum()
        X_w, y_w = np.sqrt(w)[:, None] * X, np.sqrt(w) * (y - mean * X.sum(axis=1))
        _, singular, Vt = np.linalg.svd(X_w)
        rank = int((singular > 1e-6 * singular[0]).sum())
        deviation = np.linalg.lstsq(X_w, y_w, rcond=1e-6)[0]
        inseparable = np.flatnonzero(np.linalg.norm(Vt[rank:], axis=0) > 1e-6)
        return mean + deviation, len(unknown) - rank, [int(k) for k in inseparable]


def names_isolated_atoms(config_type: str) -> bool:
    """Whether a config type is the name of isolated atoms."""
    return config_type.lower().replace("_", "").replace("-", "") == "isolatedatom"


def is_isolated(atoms: Atoms, label: Labels) -> bool:
    """Whether a frame is one atom far from its images, or an isolated atom by its config type."""
    if len(atoms) != 1:
        return False
    if not atoms.pbc.any() or names_isolated_atoms(label.config_type):
        return True
    reduced, _ = minkowski_reduce(atoms.cell.array, atoms.pbc)
    return bool((np.linalg.norm(reduced[atoms.pbc], axis=1) >= _ISOLATION).all())


def _warn_inseparable(symbols: list[str], n_open: int) -> None:
    names = f"e0 of {' and '.join(symbols)}" + (" separately" if len(symbols) > 1 else "")
    warn(
        f"the compositions of the frames with energies do not determine the {names}: the energy is shared out evenly, "
        f"wrong for other compositions; add isolated-atom frames (or frames of other compositions) for at least "
        f"{n_open} of these species."
    )
