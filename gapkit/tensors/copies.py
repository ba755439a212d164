"""Do labels turn with their structures? Frames that are the same structure, turned or shifted, are compared.

Wrong frames of reference (a code that turns molecules into a standard orientation and reports the dipole there), wrong
orders of components and forgotten charges show themselves so, before anything is learned from them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms

from gapkit.errors import warn
from gapkit.tensors.frames import TensorFrame
from gapkit.tensors.targets import Target

MOST_KEPT = 2000  # frames that later ones are compared with
SAME_GEOMETRY = 1e-3  # Å
SAME_LABEL = 1e-2  # of the largest component so far


class _Kept(NamedTuple):
    number: int
    atoms: Atoms
    value: np.ndarray


class CopyCheck:
    """Looks at frame after frame and warns, once, of a copy whose label did not turn; memory is bounded."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._n_seen = 0
        self._largest = 0.0  # component of all labels: symmetry makes some labels zero
        self._warned = False

    def add(self, frame: TensorFrame) -> None:
        """One more frame; structures with a cell are passed over, as copies there have many disguises."""
        number, self._n_seen = self._n_seen, self._n_seen + 1
        if self._warned or frame.atoms.pbc.any() or len(frame.atoms) < 2:
            return
        key, value = _fingerprint(frame.atoms), self._target.values(frame.parts)
        self._largest = max(self._largest, float(np.abs(value).max()))
        if (old := self._kept.get(key)) is not None:
            self._compare(old, _Kept(number, frame.atoms, value))
        elif len(self._kept) < MOST_KEPT:
            self._kept[key] = _Kept(number, frame.atoms, value)

    def _compare(self, old: _Kept, new: _Kept) -> None:
        R = turn_between(old.atoms, new.atoms)
        if R is None:
            return
        expected = turned(self._target, old.value, R)
        size = self._largest
        difference = float(np.abs(new.value - expected).max())
        if difference <= SAME_LABEL * size:
            return
        self._warned = True
        shift = np.linalg.norm(new.atoms.positions.mean(axis=0) - old.atoms.positions.mean(axis=0))
        charged = ", or give the charge" if self._target.moment and shift > SAME_GEOMETRY else ""
        warn(
            f"labelled frames {old.number} and {new.number} are one structure, turned or shifted, but the "
            f"{self._target.name} does not turn with it (components differ by {difference:.3g}, the largest of all is "
            f"{size:.3g}): check the labels' frame of reference and the order of components{charged}."
        )


def _fingerprint(atoms: Atoms) -> tuple[object, ...]:
    """Equal for copies with atoms in the same order: atomic numbers and rounded distances from the centre."""
    d = np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1)
    return (atoms.numbers.tobytes(), np.round(d / (10 * SAME_GEOMETRY)).astype(int).tobytes())


def turn_between(a: Atoms, b: Atoms) -> np.ndarray | None:
    """The rotation, or rotation with inversion, that takes a to b, by their centred positions; None if there is none.

    Kabsch, Acta Cryst. A 32, 922 (1976). A planar or linear structure has two, of which the proper one is returned.
    """
    X, Y = (x.positions - x.positions.mean(axis=0) for x in (a, b))
    U, _, Vt = np.linalg.svd(X.T @ Y)
    for sign in (1.0, -1.0):
        flip = np.diag([1.0, 1.0, sign * np.sign(np.linalg.det(U @ Vt))])
        R = Vt.T @ flip @ U.T
        if np.abs(X @ R.T - Y).max() < SAME_GEOMETRY:
            return np.asarray(R)
    return None


def turned(target: Target, value: np.ndarray, R: np.ndarray) -> np.ndarray:
    """What becomes of a value (…, 3, …) when space is transformed by R."""
    for axis in range(target.rank):
        value = np.moveaxis(np.tensordot(R, value, axes=(1, value.ndim - 1 - axis)), 0, value.ndim - 1 - axis)
    return value * (np.sign(np.linalg.det(R)) if target.pseudo else 1.0)
