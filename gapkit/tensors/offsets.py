"""The isotropic part that each species has on average: what a tensor starts from, as energies start from e0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.checks import is_number
from gapkit.errors import InputError
from gapkit.tensors.targets import Target


def check_offsets(offsets: Any, target: Target) -> None:
    """Raise `InputError` unless `offsets` is None or maps symbols to numbers and the target has an isotropic part."""
    if offsets is None:
        return
    if not isinstance(offsets, Mapping) or not all(atomic_numbers.get(s, 0) > 0 for s in offsets):
        raise InputError(f"offsets = {offsets!r} must map chemical symbols to numbers, or be None: from the data.")
    if not all(is_number(value) for value in offsets.values()):
        raise InputError(f"offsets = {dict(offsets)!r} must be numbers in the unit of the labels.")
    if all(order.order for order in target.orders) and any(offsets.values()):
        raise InputError(f"the {target.name} has no isotropic part: leave offsets out.")


class Offsets:
    """Least squares for Σ_i o[Z_i] from a stream of labels; memory grows with the number of distinct compositions.

    Compositions that leave combinations of species open share them out evenly.
    """

    def __init__(self, target: Target) -> None:
        self._of = target.of
        self._found: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def add(self, numbers: np.ndarray, y: np.ndarray) -> None:
        """One label's isotropic part as a multiple of the unit tensor: y (1,), or (n_atoms, 1)."""
        if self._of == "atom":
            for z in np.unique(numbers):
                own = y[numbers == z]
                self._put(((int(z), 1),), np.array([len(own), own.sum()]))
            return
        z, counts = np.unique(numbers, return_counts=True)
        self._put(tuple(zip(z.tolist(), counts.tolist())), np.array([1.0, float(y[0])]))

    def _put(self, composition: tuple[tuple[int, int], ...], value: np.ndarray) -> None:
        self._found[composition] = self._found.get(composition, np.zeros(2)) + value

    def solve(self) -> dict[str, float]:
        """Offset of every species seen."""
        numbers = sorted({z for composition in self._found for z, _ in composition})
        X = np.array([[dict(composition).get(z, 0) for z in numbers] for composition in self._found], dtype=float)
        n, total = np.array(list(self._found.values())).T
        if self._of == "mean":
            X /= X.sum(axis=1, keepdims=True)
        size, w = X.sum(axis=1), np.sqrt(n)
        mean = (n @ (total / n / size)) / n.sum()
        scale = w / size  # errors of the label per atom count
        deviation = np.linalg.lstsq(X * scale[:, None], (total / n - mean * size) * scale, rcond=1e-6)[0]
        return {chemical_symbols[z]: float(mean + d) for z, d in zip(numbers, deviation)}


def offset_of(offsets: Mapping[str, float], numbers: np.ndarray, of: str) -> np.ndarray:
    """What a structure starts from as a multiple of the unit tensor: one number, or one for each atom.

    Raises
    ------
    InputError
        For a species without an offset.
    """
    missing = [chemical_symbols[z] for z in np.unique(numbers) if chemical_symbols[z] not in offsets]
    if missing:
        raise InputError(f"the offsets {dict(offsets)} have none for {', '.join(missing)}: add it, or leave them out.")
    own = np.array([offsets[chemical_symbols[z]] for z in numbers])
    return own if of == "atom" else np.asarray(own.mean() if of == "mean" else own.sum())
