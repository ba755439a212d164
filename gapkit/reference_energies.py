"""Energy of each species that the model starts from: isolated atoms first, least squares for the rest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce

from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.structures import Labels

logger = logging.getLogger("gapkit")

_ISOLATION = 6.0  # Å between images of a single atom that count as no neighbours
_AGREEMENT = 1e-3  # eV within which two isolated atoms are the same atom computed twice


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
    numbers = sorted({int(z) for atoms in structures for z in atoms.numbers})
    if all(label.energy is None for label in labels):
        warnings.warn("no frame has an energy: e0 is zero for every species, fit to forces only.", stacklevel=2)
        return {chemical_symbols[z]: 0.0 for z in numbers}
    e0 = _from_isolated_atoms(structures, labels)
    unknown = [z for z in numbers if z not in e0]
    if unknown:
        fitted, n_open, inseparable = _from_compositions(structures, labels, e0, unknown)
        if n_open:
            _warn_inseparable([chemical_symbols[unknown[k]] for k in inseparable], n_open)
        e0 |= dict(zip(unknown, map(float, fitted)))
    for z in numbers:
        source = "least squares" if z in unknown else "isolated atom"
        logger.info("e0: %s %.6f eV from %s", chemical_symbols[z], e0[z], source)
    return {chemical_symbols[z]: e0[z] for z in numbers}


def _from_isolated_atoms(structures: Sequence[Atoms], labels: Sequence[Labels]) -> dict[int, float]:
    found: dict[int, list[tuple[int, float]]] = {}
    for k, (atoms, label) in enumerate(zip(structures, labels)):
        if label.energy is not None and _is_isolated(atoms, label):
            found.setdefault(int(atoms.numbers[0]), []).append((k, label.energy))
    for pairs in found.values():
        (first, low), (last, high) = min(pairs, key=lambda p: p[1]), max(pairs, key=lambda p: p[1])
        if high - low > _AGREEMENT:
            symbol = structures[first].symbols[0]
            raise InputError(
                f"the isolated atoms of {symbol} in frames {first} and {last} have different energies ({low:.6f} and "
                f"{high:.6f} eV), keep the one computed with the settings of the other frames."
            )
    return {z: float(np.mean([energy for _, energy in pairs])) for z, pairs in found.items()}


def _is_isolated(atoms: Atoms, label: Labels) -> bool:
    if len(atoms) != 1:
        return False
    if not atoms.pbc.any() or label.config_type.lower().replace("_", "").replace("-", "") == "isolatedatom":
        return True
    reduced, _ = minkowski_reduce(atoms.cell.array, atoms.pbc)
    return bool((np.linalg.norm(reduced[atoms.pbc], axis=1) >= _ISOLATION).all())


def _from_compositions(
    structures: Sequence[Atoms], labels: Sequence[Labels], known: dict[int, float], unknown: list[int]
) -> tuple[np.ndarray, int, list[int]]:
    """e0 of the unknown species, how many combinations of them are open, and the indices of the species in these."""
    rows, targets = [], []
    for atoms, label in zip(structures, labels):
        counts = np.array([(atoms.numbers == z).sum() for z in unknown])
        if label.energy is not None and counts.any():
            rest = label.energy - sum(known.get(int(z), 0.0) for z in atoms.numbers)
            rows.append(counts / len(atoms))
            targets.append(rest / len(atoms))
    if not rows:
        return np.zeros(len(unknown)), len(unknown), list(range(len(unknown)))
    X, y = np.array(rows), np.array(targets)
    mean = y.sum() / X.sum()
    _, singular, Vt = np.linalg.svd(X)
    rank = int((singular > 1e-6 * singular[0]).sum())
    deviation = np.linalg.lstsq(X, y - mean * X.sum(axis=1), rcond=1e-6)[0]
    inseparable = np.flatnonzero(np.linalg.norm(Vt[rank:], axis=0) > 1e-6)
    return mean + deviation, len(unknown) - rank, [int(k) for k in inseparable]


def _warn_inseparable(symbols: list[str], n_open: int) -> None:
    names = f"e0 of {' and '.join(symbols)}" + (" separately" if len(symbols) > 1 else "")
    warnings.warn(
        f"the compositions of the frames with energies do not determine the {names}: the energy is shared out evenly, "
        f"wrong for other compositions; add isolated-atom frames (or frames of other compositions) for at least "
        f"{n_open} of these species.",
        stacklevel=3,
    )
